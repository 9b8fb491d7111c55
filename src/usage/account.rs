//! Keeps the account of one response: event by event, as its dialect has it.

use super::{
    Certainty, Dialect, Terminator, Usage, UsageReport,
    asked::Asked,
    choices::Choices,
    dialects::openai_chat::is_of_all,
    event::Event,
    framing::{About, Kind, Medium, Message},
    members::{Count, Counts, LONGEST_TEXT, Mark, Text},
    needles::{self, is_said},
};
use crate::{
    exchange::{Cause, Exchange, Said},
    sse::is_failure,
};

/// So many events are looked at to recognise a dialect: the first may be a heartbeat.
const TRIES: u8 = 8;

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
    /// It is a run of an assistant, whose stream says `[DONE]`.
    run: bool,
    /// It has vectors in place of words.
    embeds: bool,
    /// It broke off: what lacks its end is no word of it.
    cut: bool,
    /// How it is made up, once something came.
    medium: Medium,
    /// It is an array of objects.
    array: bool,
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

    /// The body has ended: what comes now lacks its own end.
    pub(super) const fn ends(&mut self, clean: bool) {
        self.cut = !clean;
    }

    /// Nothing comes any more.
    pub(super) fn ended(&mut self, clean: bool) {
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

    /// Knows how it is made up.
    pub(super) fn set_framing(&mut self, medium: Medium, array: bool) {
        if (self.medium, self.array) != (medium, array) {
            (self.medium, self.array) = (medium, array);
            self.publish();
        }
    }

    /// Whether what comes is a stream. An object is none, and an array is one of Gemini's alone.
    fn streams(&self) -> bool {
        match self.medium {
            Medium::Events | Medium::Lines | Medium::Frames => true,
            Medium::Json => self.array && self.dialect == Some(Dialect::Gemini),
            Medium::Unclear | Medium::Other => false,
        }
    }

    /// Whether nothing would change if these whole events were read, by their bytes: each name, type and text that can change
    /// anything lies in one line, without escapes but for those of a letter.
    pub(super) fn is_dull(&self, events: &[u8]) -> bool {
        // Behind a reason it is of interest whether the model goes on all the same.
        let watched = self.end.is_none() && self.choices.any_finished();
        if !self.streams() || self.guesses() || watched {
            return false;
        }
        let Some(dialect) = self.dialect else { return !needles::ANY.are_in(events) };
        // There may be more answers than one, and other things with an index.
        let counts = self.end.is_none() && matches!(dialect, Dialect::OpenAiChat | Dialect::Gemini);
        let counts_first = counts && !self.choices.has_seen(0); // One without an index is the first.
        let watch = &dialect.grammar().watch;
        let early = !self.has_model || counts_first;
        let needles = if early { &watch.early } else { &watch.late };
        !needles.any(events, |word, behind| match word {
            needles::INDEX => counts && !self.knows(behind),
            needles::MODEL | needles::MODEL_VERSION => !self.has_model && is_said(behind),
            needles::CHOICES | needles::CANDIDATES => counts_first && is_said(behind),
            _ => is_said(behind),
        })
    }

    /// Whether what stands behind the name of an index is one of an answer that was there before.
    fn knows(&self, behind: &[u8]) -> bool {
        let Some(value) = needles::value(behind) else { return false };
        let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let whole = matches!(value.get(digits), Some(b',' | b'}' | b' '));
        let index = std::str::from_utf8(&value[..digits]).ok().and_then(|index| index.parse().ok());
        whole && index.is_some_and(|index| self.choices.has_seen(index))
    }

    /// Takes what an event says, and what it is called.
    pub(super) fn event(&mut self, about: About<'_>, event: &Event) {
        let event_type = match about {
            About::Event(event_type) => event_type,
            About::Json => "",
            About::Message(message) => return self.message(message, event),
        };
        self.recognise(event_type, event);
        if self.tells_failure(about, event) {
            self.fail();
        }
        match self.dialect {
            _ if !(event.is_done() && matches!(about, About::Event(_))) => {
                self.json(event_type, event);
            }
            Some(Dialect::OpenAiChat) if self.run || !self.other => self.terminate(),
            _ => self.over(), // Some say it in other dialects, or in none.
        }
    }

    fn recognise(&mut self, event_type: &str, event: &Event) {
        if self.tries > 0 {
            self.tries -= 1;
            let told = || Dialect::of_event(self.medium, event_type, event.signs());
            if let Some((dialect, other)) = event.is_whole().then(told).flatten() {
                let object = event.signs().text(Text::Other).unwrap_or_default();
                (self.other, self.run) = (other, object.starts_with("thread."));
                self.told(dialect);
            }
        }
    }

    /// Whether an event tells of a failure. In no known dialect a member `error` may be anything, and in JSON-RPC it is the answer
    /// to one of many calls.
    fn tells_failure(&self, about: About<'_>, event: &Event) -> bool {
        let signs = event.signs();
        let kind = signs.text(Text::Kind).filter(|_| event.is_whole());
        let error = signs.has(Mark::Error);
        let failure = match about {
            About::Event(event_type) => {
                let named = is_failure(event_type) || kind.is_some_and(is_failure);
                named || (error && self.dialect.is_some())
            }
            About::Json => {
                let known = self.dialect.is_some() || kind.is_some_and(is_failure);
                self.streams() && event.is_whole() && error && known
            }
            About::Message(_) => false, // Its headers tell.
        };
        failure && !signs.has(Mark::JsonRpc)
    }

    fn message(&mut self, message: Message, event: &Event) {
        if message.failed {
            self.fail();
        }
        if self.guesses() {
            match message.kind {
                Kind::Start => self.told(Dialect::BedrockConverse),
                // Agents of Bedrock have chunks too, but of text.
                Kind::Chunk if self.dialect.is_some() || event.is_whole() => {
                    self.told(Dialect::BedrockInvoke);
                }
                Kind::Chunk | Kind::Metadata | Kind::Other => {}
            }
        }
        self.json("", event);
        if message.kind == Kind::Metadata && self.dialect == Some(Dialect::BedrockConverse) {
            self.terminate();
        }
    }

    fn json(&mut self, event_type: &str, event: &Event) {
        let Some(dialect) = self.dialect else { return };
        let grammar = dialect.grammar();
        let Some(found) = event.found(dialect) else { return };
        let finish = (grammar.finish)(found);
        self.has_finish |= finish.is_some();
        if self.end.is_none() {
            self.choices.add(found.choices);
        }
        self.counts.replace(found.counts);
        self.embeds |= found.has(Mark::Embeddings);
        if found.counts.any() {
            self.settled = self.has_finish || !self.streams() || (self.other && is_of_all(found));
        }
        if self.streams() && self.end.is_none() && !self.cut {
            self.failed |= finish.is_some_and(|finish| finish.eq_ignore_ascii_case("error"));
        }
        let kind = event.signs().text(Text::Kind).unwrap_or(event_type);
        if self.streams() && (grammar.ends)(kind, found) {
            self.terminate();
        }
        // The first is the model's; a name that comes later is the same in another's words.
        let model = found.text(Text::Model).filter(|_| !self.has_model);
        self.has_model |= model.is_some();
        self.report.update(|usage| {
            if let Some(model) = model {
                usage.model = Some(model.to_owned());
            }
            if let Some(finish) = finish {
                usage.finish_reason = Some(finish.to_owned());
            }
        });
        self.publish();
    }

    /// What the answer says later on wins.
    pub(super) fn asked_of(&mut self, model: Option<&str>) {
        let model = model.filter(|model| model.len() <= LONGEST_TEXT);
        self.report.update(|usage| usage.model = model.map(str::to_owned));
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
        let terminated = self.terminated || (self.streams() && reason_is_all && finished);
        let promised = self.streams() && grammar.is_some() && !self.other;
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
