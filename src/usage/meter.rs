//! The sink that keeps the account.

use bytes::Bytes;
use http::{StatusCode, response};

use super::{
    Dialect, UsageReport,
    account::Account,
    dialect::is_openai_other,
    event::Event,
    framing::{About, Framing, Kind, Medium, Part},
    members::{Count, Counts},
    unwrap::Unwrap,
};
use crate::{
    exchange::{Exchange, Outcome},
    tee::Sink,
};

/// Reads the usage from a body that streams through a [`TeeBody`](crate::tee::TeeBody) or a
/// [`TeeLayer`](crate::tee::TeeLayer). See the [module](super).
#[derive(Debug)]
#[must_use]
pub struct UsageMeter {
    account: Account,
    event: Event,
    unwrap: Unwrap,
    /// How the stream is made up, once that is known.
    framing: Option<Framing>,
    /// The first byte tells it. Otherwise, and without a framing, there is nothing of interest.
    sniffs: bool,
    /// The status says that it worked, or there was no head.
    success: bool,
}

impl UsageMeter {
    /// Reads such a dialect and no other. `None`: the first event tells the dialect.
    pub fn new(dialect: Option<Dialect>) -> Self {
        let mut account = Account::default();
        match dialect {
            Some(dialect) => account.told(dialect),
            None => account.guess(None),
        }
        Self {
            account,
            event: Event::new(),
            unwrap: Unwrap::default(),
            framing: None,
            sniffs: true,
            success: true,
        }
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

    /// What is found, to be read elsewhere.
    pub fn report(&self) -> UsageReport {
        self.account.report()
    }

    /// Finds the framing by the first byte that is no white space, where the content type says nothing.
    fn sniff(&mut self, first: u8) {
        let dialect = self.account.dialect();
        let lines = dialect == Some(Dialect::Ollama);
        // Much that is no stream begins with a zero.
        let frames = dialect.is_some_and(|dialect| dialect.talks_in(Medium::Frames));
        self.sniffs = false;
        self.framing = match first {
            b'{' if lines => Some(Framing::lines()),
            b'{' | b'[' => Some(Framing::values()),
            0 if frames => Some(Framing::frames()),
            // A comment, a field of an event, a byte order mark.
            b':' | b'd' | b'e' | b'i' | b'r' | 0xef => Some(Framing::events()),
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
            Medium::Events => Some(Framing::events()),
            Medium::Lines => Some(Framing::lines()),
            Medium::Json => Some(Framing::values()),
            Medium::Frames => Some(Framing::frames()),
            Medium::Unclear | Medium::Other => None,
        };
        self.sniffs = medium == Medium::Unclear && dialect.is_some();
        self.success = head.status.is_success();
        if dialect == Some(Dialect::BedrockInvoke) && head.status == StatusCode::OK {
            self.account.count(counted(head));
        }
    }

    fn data(&mut self, data: Bytes) {
        let mut data = &data[..];
        if self.sniffs {
            data = data.trim_ascii_start(); // It is nothing in any of them.
            if let Some(first) = data.first() {
                self.sniff(*first);
            }
        }
        let Self { account, event, unwrap, framing: Some(framing), success, .. } = self else {
            return;
        };
        if data.is_empty() || (framing.is_aligned(data) && account.is_dull(data)) {
            return;
        }
        event.expect(account.dialect(), !account.guesses());
        let mut at = 0;
        loop {
            let part = framing.next(data, &mut at);
            // An error in place of a response is none in a stream, though Gemini sends it in an array.
            let refused = !*success && matches!(framing, Framing::Values(_));
            account.set_framing(framing.medium(), framing.in_array() && !refused);
            match part {
                None => return,
                Some(Part::Text(text)) => event.text(&data[text]),
                Some(Part::Line(text)) => {
                    event.text(b"\n");
                    event.text(&data[text]);
                }
                Some(Part::Wrapped(text)) => unwrap.text(&data[text], event),
                Some(end @ (Part::End | Part::Broken)) => {
                    let about = framing.about();
                    if let About::Message(_) = about {
                        let sound = unwrap.finish();
                        let wrapped = matches!(about, About::Message(m) if m.kind == Kind::Chunk);
                        if wrapped && !sound {
                            event.clear();
                        }
                    }
                    if end == Part::End {
                        account.event(about, event);
                    }
                    event.clear();
                    event.expect(account.dialect(), !account.guesses());
                }
            }
        }
    }

    fn end(mut self, outcome: Outcome) {
        let clean = outcome == Outcome::Completed;
        self.account.ends(clean);
        if let Some(framing) = &mut self.framing {
            if framing.finish() {
                self.account.event(framing.about(), &self.event);
            }
        }
        self.account.ended(clean);
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
