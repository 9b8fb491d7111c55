//! The sink that keeps the account.

use bytes::Bytes;
use http::{StatusCode, response};

use super::{
    Dialect, UsageReport,
    account::Account,
    framing::{Framing, Medium},
    members::{Count, Counts},
};
use crate::{exchange::Outcome, tee::Sink};

/// Of one event, and of a response that is no stream. The event that ends a stream of OpenAI's Responses repeats the whole
/// response, and it is the one with the usage.
const DEFAULT_LIMIT: usize = 1024 * 1024;

/// Reads the usage from a body that streams through a [`TeeBody`](crate::tee::TeeBody) or a
/// [`TeeLayer`](crate::tee::TeeLayer). See the [module](super).
#[derive(Debug)]
#[must_use]
pub struct UsageMeter {
    account: Account,
    source: Source,
    /// The status says that it worked, or there was no head.
    success: bool,
    limit: usize,
}

/// Where the parts come from.
#[derive(Debug)]
enum Source {
    /// What comes tells.
    Unread,
    Known(Framing),
    /// Nothing of interest can come.
    Nothing,
}

impl UsageMeter {
    /// Reads such a dialect and no other. `None`: the first event tells the dialect.
    pub fn new(dialect: Option<Dialect>) -> Self {
        let mut account = Account::default();
        match dialect {
            Some(dialect) => account.told(dialect),
            None => account.guess(None),
        }
        Self { account, source: Source::Unread, success: true, limit: DEFAULT_LIMIT }
    }

    /// Guesses the dialect by the path of the request, see [`Dialect::detect`]. The content type of the response can take
    /// the guess back, and the first event that is recognised decides.
    pub fn for_path(path: &str) -> Self {
        let mut meter = Self::new(None);
        meter.account.guess(Dialect::of_path(path));
        meter
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

    /// By the first byte, where the content type says nothing.
    fn sniff(&self, data: &[u8]) -> Source {
        let framing = match data.trim_ascii_start().first() {
            None => return Source::Unread, // White space is nothing in any of them.
            Some(b'{') if self.account.dialect() == Some(Dialect::Ollama) => {
                Framing::lines(self.limit)
            }
            Some(b'{' | b'[') => Framing::values(self.limit),
            Some(0) => Framing::frames(self.limit),
            // A comment, a field of an event, a byte order mark.
            Some(b':' | b'd' | b'e' | b'i' | b'r' | 0xef) => Framing::events(self.limit),
            Some(_) => return Source::Nothing,
        };
        Source::Known(framing)
    }
}

impl Sink for UsageMeter {
    fn head(&mut self, head: &response::Parts) {
        let medium = Medium::of(&head.headers);
        let dialect = self.account.dialect();
        if self.account.guesses() {
            self.account.guess(dialect.filter(|dialect| dialect.talks_in(medium)));
        }
        self.source = match medium {
            Medium::Events => Source::Known(Framing::events(self.limit)),
            Medium::Lines => Source::Known(Framing::lines(self.limit)),
            Medium::Json => Source::Known(Framing::values(self.limit)),
            Medium::Frames => Source::Known(Framing::frames(self.limit)),
            Medium::Unclear if dialect.is_some() => Source::Unread,
            Medium::Unclear | Medium::Other => Source::Nothing,
        };
        self.success = head.status.is_success();
        if dialect == Some(Dialect::BedrockInvoke) && head.status == StatusCode::OK {
            self.account.count(counted(head));
        }
    }

    fn data(&mut self, mut data: Bytes) {
        if data.is_empty() {
            return;
        }
        if matches!(self.source, Source::Unread) {
            self.source = self.sniff(&data);
        }
        let Source::Known(framing) = &mut self.source else { return };
        loop {
            let part = framing.next(&mut data);
            // An error in place of a response is none in a stream, though Gemini sends it in an array.
            let refused = !self.success && matches!(framing, Framing::Values(_));
            self.account.set_stream(framing.is_stream() && !refused);
            let Some(part) = part else { break };
            self.account.part(&part);
        }
    }

    fn end(mut self, _: Outcome) {
        if let Source::Known(framing) = &mut self.source {
            if let Some(part) = framing.finish() {
                self.account.part(&part);
            }
        }
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
