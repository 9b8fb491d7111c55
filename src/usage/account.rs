//! Keeps the account of one response: event by event, as its dialect has it.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::{
    Certainty, Dialect, Terminator, Usage, UsageReport,
    asked::Asked,
    choices::Choices,
    dialects::{bedrock::unwrap_chunk, openai_chat::is_of_all},
    framing::{Frame, Part},
    members::{Count, Counts, Found, Mark, Members, Node, Text},
    needles::Needles,
};
use crate::{
    exchange::{Cause, Exchange, Said},
    sse::DecodedEvent,
};

/// A longer text is no name of anything, and is left out.
const LONGEST_TEXT: usize = 256;

/// So many events are looked at to recognise a dialect: the first may be a heartbeat.
const TRIES: u8 = 8;

static MODEL: LazyLock<Needles> = LazyLock::new(|| Needles::new(&["\"model\""]));
static ERROR: LazyLock<Needles> = LazyLock::new(|| Needles::new(&["\"error\""]));
/// Of a frame: an event's type has no quotes, nor has the end of OpenAI's streams.
static ANY_ERROR: LazyLock<Needles> = LazyLock::new(|| Needles::new(&["error"]));
static DONE: LazyLock<Needles> = LazyLock::new(|| Needles::new(&["[DONE]"]));
static INDEX: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"index\""));
const ERRORS: Members = &[("error", Node::Mark(Mark::Error))];

/// What one response has said so far.
#[derive(Debug, Default)]
pub(super) struct Account {
    report: UsageReport,
    /// Where it is said how the stream has ended.
    exchange: Option<Exchange>,
    dialect: Option<Dialect>,
    /// Events that may still tell the dialect.
    tries: u8,
    counts: Counts,
    /// The counts were said when the model had finished.
    settled: bool,
    has_model: bool,
    has_finish: bool,
    choices: Choices,
    terminated: bool,
    failed: bool,
    /// How the stream has ended by its own words: the first of them wins.
    end: Option<Cause>,
    /// It is one of OpenAI's that is no chat, and has no terminator.
    other: bool,
    /// It has vectors in place of words.
    embeds: bool,
    /// It broke off: what lacks its end is no word of it.
    cut: bool,
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

    /// Leaves it there how the stream has ended, from now on.
    pub(super) fn say_in(&mut self, exchange: Exchange) {
        self.exchange = Some(exchange);
        self.publish();
    }

    /// Knows that it is one of OpenAI's that is no chat.
    pub(super) const fn set_other(&mut self, other: bool) {
        self.other = other;
    }

    /// The body has ended, and this is what lacks its own end.
    pub(super) fn end(&mut self, last: Option<&Part>, clean: bool) {
        self.cut = !clean;
        if let Some(part) = last {
            self.part(part);
        }
        if self.failed && clean {
            self.over();
        }
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
        let of_interest = self
            .dialect
            .is_some_and(|dialect| self.is_of_interest(dialect, events) || DONE.are_in(events));
        !of_interest && !ANY_ERROR.are_in(events)
    }

    fn is_of_interest(&self, dialect: Dialect, json: &[u8]) -> bool {
        dialect.grammar().needles.are_in(json)
            || (!self.has_model && MODEL.are_in(json))
            // Behind a reason: whether the model goes on all the same.
            || (self.end.is_none() && (self.has_finish || self.is_of_another(dialect, json)))
    }

    /// Whether it may be of an answer that was not there before. There are other things with an index.
    fn is_of_another(&self, dialect: Dialect, json: &[u8]) -> bool {
        let several = matches!(dialect, Dialect::OpenAiChat | Dialect::Gemini);
        several
            && INDEX.find_iter(json).any(|at| {
                let value = json[at + INDEX.needle().len()..].trim_ascii_start();
                let value = value.strip_prefix(b":").unwrap_or_default().trim_ascii_start();
                let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).take(4);
                let index = digits.fold(0, |index, digit| index * 10 + u64::from(digit - b'0'));
                !self.choices.has_seen(index)
            })
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
            match self.dialect {
                Some(Dialect::OpenAiChat) => self.terminate(),
                Some(_) => self.over(), // Some proxies say it in any dialect.
                None => {}
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
            self.json("", frame.payload());
            if frame.header(":event-type") == Some("metadata") {
                self.terminate();
            }
            return;
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
            if let Some((dialect, other)) = Dialect::of_event(event_type, json) {
                self.other = other;
                self.told(dialect);
            }
        }
        let Some(dialect) = self.dialect else { return };
        let grammar = dialect.grammar();
        if self.streams && !self.is_of_interest(dialect, json) {
            return;
        }
        let Some(found) = Found::read(json, grammar.members) else { return };
        let finish = (grammar.finish)(&found);
        self.has_finish |= finish.is_some();
        self.choices.add(found.choices);
        self.counts.replace(found.counts);
        self.embeds |= found.has(Mark::Embeddings);
        if found.counts.any() {
            self.settled = self.has_finish || !self.streams || (self.other && is_of_all(&found));
        }
        if self.streams && self.end.is_none() && !self.cut {
            self.failed |= finish.is_some_and(|finish| finish.eq_ignore_ascii_case("error"));
        }
        if self.streams && (grammar.ends)(&found) {
            self.terminate();
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

    /// An event tells of a failure.
    fn fail(&mut self) {
        if !self.cut && self.end.is_none() {
            self.failed = true;
        }
        self.over();
    }

    /// The dialect's own end came.
    fn terminate(&mut self) {
        self.terminated |= !self.cut;
        self.over();
    }

    /// What follows changes nothing.
    fn over(&mut self) {
        if !self.cut {
            let failed = self.failed;
            self.end.get_or_insert_with(|| {
                if failed { Cause::told_failure() } else { Cause::Completed }
            });
        }
        self.publish();
    }

    fn publish(&self) {
        let Self { counts, .. } = self;
        let grammar = self.dialect.map(Dialect::grammar);
        let asked = self.exchange.as_ref().filter(|_| self.choices.any()).and_then(Asked::of);
        let finished = self.choices.are_finished(asked.unwrap_or(1));
        let reason_is_all = grammar.is_some_and(|grammar| grammar.ends_with_reason);
        let terminated = self.terminated || (self.streams && reason_is_all && finished);
        let promised = self.streams && !self.skipped && grammar.is_some() && !self.other;
        let unfinished = promised && !terminated && !finished && !self.failed && self.end.is_none();
        self.report.update(|usage| {
            usage.dialect = self.dialect;
            usage.input_tokens = grammar.and_then(|grammar| (grammar.input)(counts));
            usage.output_tokens = grammar.and_then(|grammar| (grammar.output)(counts));
            usage.cached_tokens = counts.get(Count::Cached);
            usage.cache_write_tokens = counts.get(Count::CacheWrite);
            usage.reasoning_tokens = counts.get(Count::Reasoning);
            usage.error_event = self.failed;
            usage.certainty = self.certainty(usage);
            usage.unfinished = unfinished;
            usage.terminator = match (terminated, promised) {
                (true, _) => Terminator::Seen,
                (false, true) => Terminator::Missing,
                (false, false) => Terminator::None,
            };
        });
        if let Some(exchange) = &self.exchange {
            exchange.say(Said { end: self.end.clone(), unfinished });
        }
    }

    fn certainty(&self, usage: &Usage) -> Certainty {
        // All tokens were the input's: there is no output to be said.
        let no_output = self.embeds || self.counts.get(Count::Total) == usage.input_tokens;
        let output = usage.output_tokens.is_some() || no_output;
        if usage.input_tokens.is_some() && output && (self.settled || self.terminated) {
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
