//! Keeps the account of one response: event by event, as its dialect has it.

use std::sync::LazyLock;

use super::{
    Certainty, Dialect, Terminator, Usage, UsageReport,
    dialects::bedrock::unwrap_chunk,
    framing::{Frame, Part},
    members::{Count, Counts, Found, Mark, Members, Node, Text},
    needles::Needles,
};
use crate::sse::DecodedEvent;

/// A longer text is no name of anything, and is left out.
const LONGEST_TEXT: usize = 256;

/// So many events are looked at to recognise a dialect: the first may be a heartbeat.
const TRIES: u8 = 8;

static MODEL: LazyLock<Needles> = LazyLock::new(|| Needles::new(&["\"model\""]));
static ERROR: LazyLock<Needles> = LazyLock::new(|| Needles::new(&["\"error\""]));
/// Of a frame: an event's type has no quotes, nor has the end of OpenAI's streams.
static ANY_ERROR: LazyLock<Needles> = LazyLock::new(|| Needles::new(&["error"]));
static DONE: LazyLock<Needles> = LazyLock::new(|| Needles::new(&["[DONE]"]));
const ERRORS: Members = &[("error", Node::Mark(Mark::Error))];

/// What one response has said so far.
#[derive(Debug, Default)]
pub(super) struct Account {
    report: UsageReport,
    dialect: Option<Dialect>,
    /// Events that may still tell the dialect.
    tries: u8,
    counts: Counts,
    /// The counts were said when the model had finished.
    settled: bool,
    has_model: bool,
    has_finish: bool,
    terminated: bool,
    failed: bool,
    /// Something was too large to be read.
    skipped: bool,
    /// Something came, in a framing that has events.
    streams: bool,
    /// Of a chunk of Bedrock.
    words: Vec<u8>,
}

impl Account {
    pub(super) const fn dialect(&self) -> Option<Dialect> {
        self.dialect
    }

    pub(super) fn report(&self) -> UsageReport {
        self.report.clone()
    }

    /// Takes the dialect for certain.
    pub(super) fn told(&mut self, dialect: Dialect) {
        self.speak(Some(dialect));
        self.tries = 0;
    }

    /// Takes the dialect until an event says otherwise.
    pub(super) fn guess(&mut self, dialect: Option<Dialect>) {
        self.speak(dialect);
        self.tries = TRIES;
    }

    /// Whether the dialect is only guessed.
    pub(super) const fn guesses(&self) -> bool {
        self.tries > 0
    }

    fn speak(&mut self, dialect: Option<Dialect>) {
        self.dialect = dialect;
        self.publish();
    }

    /// Takes counts that do not come from the body.
    pub(super) fn count(&mut self, counts: Counts) {
        self.counts.replace(counts);
        self.settled |= counts.any();
        self.publish();
    }

    /// Knows whether what comes is a stream.
    pub(super) fn set_stream(&mut self, streams: bool) {
        if self.streams != streams {
            self.streams = streams;
            self.publish();
        }
    }

    /// Whether whole events have not a word of interest. Such words lie in one line: a line end inside of a string is
    /// written with an escape.
    pub(super) fn is_dull(&self, events: &[u8]) -> bool {
        if !self.streams || self.tries > 0 {
            return false;
        }
        let of_interest = self.dialect.is_some_and(|dialect| {
            dialect.grammar().needles.are_in(events)
                || (dialect == Dialect::OpenAiChat && DONE.are_in(events))
                || (!self.has_model && MODEL.are_in(events))
        });
        !of_interest && !ANY_ERROR.are_in(events)
    }

    pub(super) fn part(&mut self, part: &Part) {
        match part {
            Part::Event(event) => self.event(event),
            Part::Json(json) => {
                if self.streams && ERROR.are_in(json) && has_error(json) {
                    self.fail();
                }
                self.json("", json);
            }
            Part::Frame(frame) => self.frame(frame),
            Part::TooLarge => {
                self.skipped = true;
                self.publish();
            }
        }
    }

    fn event(&mut self, event: &DecodedEvent) {
        let data = event.data();
        let named = matches!(event.event_type(), "error" | "response.failed");
        if (named || ERROR.are_in(data)) && event.is_error() {
            self.fail();
        }
        if data.trim_ascii() == b"[DONE]" {
            if self.dialect == Some(Dialect::OpenAiChat) {
                self.terminated = true;
                self.publish();
            }
            return;
        }
        self.json(event.event_type(), data);
    }

    fn frame(&mut self, frame: &Frame) {
        if matches!(frame.header(":message-type"), Some("exception" | "error")) {
            self.fail();
        }
        let chunk = frame.header(":event-type") == Some("chunk");
        if self.tries > 0 {
            self.told(if chunk { Dialect::BedrockInvoke } else { Dialect::BedrockConverse });
        }
        if !chunk {
            return self.json("", frame.payload());
        }
        let mut words = std::mem::take(&mut self.words);
        if unwrap_chunk(frame.payload(), &mut words) {
            self.json("", &words);
        }
        self.words = words;
    }

    fn json(&mut self, event_type: &str, json: &[u8]) {
        if self.tries > 0 {
            self.tries -= 1;
            if let Some(dialect) = Dialect::of_event(event_type, json) {
                self.told(dialect);
            }
        }
        let Some(dialect) = self.dialect else { return };
        let grammar = dialect.grammar();
        let of_interest = grammar.needles.are_in(json) || (!self.has_model && MODEL.are_in(json));
        if self.streams && !of_interest {
            return;
        }
        let Some(found) = Found::read(json, grammar.members) else { return };
        let finish = (grammar.finish)(&found);
        self.has_finish |= finish.is_some();
        self.counts.replace(found.counts);
        if found.counts.any() {
            self.settled = self.has_finish || !self.streams;
        }
        if self.streams {
            self.terminated |= (grammar.ends)(&found);
            self.failed |= finish.is_some_and(|finish| finish.eq_ignore_ascii_case("error"));
        }
        let model = short(found.text(Text::Model));
        self.has_model |= model.is_some();
        self.report.update(|usage| {
            usage.model = model.or(usage.model.take());
            usage.finish_reason = short(finish).or(usage.finish_reason.take());
        });
        self.publish();
    }

    /// What the answer says later on wins.
    pub(super) fn asked_of(&mut self, model: Option<&str>) {
        self.report.update(|usage| usage.model = short(model));
    }

    fn fail(&mut self) {
        self.failed = true;
        self.publish();
    }

    fn publish(&self) {
        let Self { counts, .. } = self;
        let grammar = self.dialect.map(Dialect::grammar);
        self.report.update(|usage| {
            usage.dialect = self.dialect;
            usage.input_tokens = grammar.and_then(|grammar| (grammar.input)(counts));
            usage.output_tokens = grammar.and_then(|grammar| (grammar.output)(counts));
            usage.cached_tokens = counts.get(Count::Cached);
            usage.cache_write_tokens = counts.get(Count::CacheWrite);
            usage.reasoning_tokens = counts.get(Count::Reasoning);
            usage.error_event = self.failed;
            usage.certainty = self.certainty(usage);
            usage.terminator = if self.terminated {
                Terminator::Seen
            } else if self.streams && !self.skipped && grammar.is_some_and(|g| g.has_terminator) {
                Terminator::Missing
            } else {
                Terminator::None
            };
        });
    }

    fn certainty(&self, usage: &Usage) -> Certainty {
        let all = usage.input_tokens.is_some() && usage.output_tokens.is_some();
        if all && (self.settled || self.terminated) {
            Certainty::Reported
        } else if self.counts.any() {
            Certainty::Partial
        } else {
            Certainty::Unknown
        }
    }
}

fn has_error(json: &[u8]) -> bool {
    Found::read(json, ERRORS).is_some_and(|found| found.has(Mark::Error))
}

fn short(text: Option<&str>) -> Option<String> {
    text.filter(|text| text.len() <= LONGEST_TEXT).map(str::to_owned)
}
