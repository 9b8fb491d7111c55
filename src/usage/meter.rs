//! The sink that keeps the account.

use bytes::Bytes;
use http::{StatusCode, response};

use super::{
    Dialect, UsageReport,
    account::Account,
    dialect::is_openai_other,
    framing::{Framing, Medium},
    members::{Count, Counts},
};
use crate::{
    exchange::{Exchange, Outcome},
    tee::Sink,
};

/// Of one event, and of a response that is no stream. The event that ends a stream of OpenAI's Responses repeats the whole
/// response, and it is the one with the usage.
const DEFAULT_LIMIT: usize = 1024 * 1024;

/// Reads the usage from a body that streams through a [`TeeBody`](crate::tee::TeeBody) or a
/// [`TeeLayer`](crate::tee::TeeLayer). See the [module](super).
#[derive(Debug)]
#[must_use]
pub struct UsageMeter {
    account: Account,
    /// How the stream is made up, once that is known.
    framing: Option<Framing>,
    /// The first byte tells it. Otherwise, and without a framing, there is nothing of interest.
    sniffs: bool,
    /// The status says that it worked, or there was no head.
    success: bool,
    limit: usize,
}

impl UsageMeter {
    /// Reads such a dialect and no other. `None`: the first event tells the dialect.
    pub fn new(dialect: Option<Dialect>) -> Self {
        let mut account = Account::default();
        match dialect {
            Some(dialect) => account.told(dialect),
            None => account.guess(None),
        }
        Self { account, framing: None, sniffs: true, success: true, limit: DEFAULT_LIMIT }
    }

    /// Guesses the dialect by the path of the request, see [`Dialect::detect`]. The content type of the response can take
    /// the guess back, and the first event that is recognised decides.
    pub fn for_path(path: &str) -> Self {
        let mut meter = Self::new(None);
        let dialect = Dialect::of_path(path);
        meter.account.set_other(is_openai_other(path));
        meter.account.guess(dialect);
        let model = dialect.and_then(|dialect| dialect.model_of_path(path));
        meter.account.asked_of(model.as_deref());
        meter
    }

    /// Leaves what the stream says of its end in the exchange.
    pub(super) fn in_exchange(mut self, exchange: Exchange) -> Self {
        self.account.say_in(exchange);
        self
    }

    /// Holds at most so many `bytes`, instead of 1 MiB, of an event that is not complete, or of a response that is no
    /// stream. What is larger is not read.
    pub const fn with_limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// What is found, to be read elsewhere.
    pub fn report(&self) -> UsageReport {
        self.account.report()
    }

    /// Finds the framing by the first byte, where the content type says nothing.
    fn sniff(&mut self, data: &[u8]) {
        // White space is nothing in any of them.
        let Some(first) = data.trim_ascii_start().first() else { return };
        let lines = self.account.dialect() == Some(Dialect::Ollama);
        self.sniffs = false;
        self.framing = match first {
            b'{' if lines => Some(Framing::lines(self.limit)),
            b'{' | b'[' => Some(Framing::values(self.limit)),
            0 => Some(Framing::frames(self.limit)),
            // A comment, a field of an event, a byte order mark.
            b':' | b'd' | b'e' | b'i' | b'r' | 0xef => Some(Framing::events(self.limit)),
            _ => None,
        };
    }
}

impl Sink for UsageMeter {
    fn head(&mut self, head: &response::Parts) {
        let medium = Medium::of(&head.headers);
        let dialect = self.account.dialect();
        if self.account.guesses() {
            self.account.guess(dialect.filter(|dialect| dialect.talks_in(medium)));
        }
        self.framing = match medium {
            Medium::Events => Some(Framing::events(self.limit)),
            Medium::Lines => Some(Framing::lines(self.limit)),
            Medium::Json => Some(Framing::values(self.limit)),
            Medium::Frames => Some(Framing::frames(self.limit)),
            Medium::Unclear | Medium::Other => None,
        };
        self.sniffs = medium == Medium::Unclear && dialect.is_some();
        self.success = head.status.is_success();
        if dialect == Some(Dialect::BedrockInvoke) && head.status == StatusCode::OK {
            self.account.count(counted(head));
        }
    }

    fn data(&mut self, mut data: Bytes) {
        if data.is_empty() {
            return;
        }
        if self.sniffs {
            self.sniff(&data);
        }
        let Some(framing) = &mut self.framing else { return };
        if data.len() <= self.limit && framing.is_aligned(&data) && self.account.is_dull(&data) {
            return;
        }
        loop {
            let part = framing.next(&mut data);
            // An error in place of a response is none in a stream, though Gemini sends it in an array.
            let refused = !self.success && matches!(framing, Framing::Values(_));
            self.account.set_stream(framing.is_stream() && !refused);
            let Some(part) = part else { break };
            self.account.part(&part);
        }
    }

    fn end(mut self, outcome: Outcome) {
        let last = self.framing.as_mut().and_then(Framing::finish);
        self.account.end(last.as_ref(), outcome == Outcome::Completed);
    }
}

/// Bedrock counts the tokens of a response that is no stream in its head.
fn counted(head: &response::Parts) -> Counts {
    let mut counts = Counts::default();
    let names = [
        ("x-amzn-bedrock-input-token-count", Count::Input),
        ("x-amzn-bedrock-output-token-count", Count::Output),
        ("x-amzn-bedrock-cache-read-input-token-count", Count::Cached),
        ("x-amzn-bedrock-cache-write-input-token-count", Count::CacheWrite),
    ];
    for (name, count) in names {
        let value = head.headers.get(name).and_then(|value| value.to_str().ok()?.parse().ok());
        if let Some(value) = value {
            counts.set(count, value);
        }
    }
    counts
}
