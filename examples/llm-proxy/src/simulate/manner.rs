//! How the simulation is to behave, as told by the model's name.

use std::time::Duration;

use http::StatusCode;

use crate::units;

#[cfg(test)]
mod tests;

pub(crate) const HELP: &str = "\
The simulated upstream (without --upstream):
  POST /v1/chat/completions (OpenAI), POST /v1/messages (Anthropic), POST /api/chat (Ollama),
  GET /v1/models. Any model name works. Parts of it between dashes that read KEY=VALUE direct the
  answer, as in `sim-words=200-gap=20ms-first=2s`:
    words=N    length of the answer; one word is one event and one token [default: 40]
    gap=D      time between words [default: 30ms]
    head=D     silence before the response head [default: 0s]
    first=D    silence after the head, before the first byte [default: 0s]
    pause=N:D  silence for D after N words
    stall=N    after N words, silence for ever
    fail=N     after N words, the connection breaks
    error=N    after N words, an error event, then the end
    status=S   an error response instead of an answer, S from 400 to 599
  N is at most 100000, D at most 1h. Of stall, fail and error only one; it happens after the last
  word if there are fewer. An answer that does not stream comes whole when its time is over: a
  stall keeps it back for ever, a failure cuts it in half, an error makes it a 500.";

const MOST_WORDS: u32 = 100_000;
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// What a model's name asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manner {
    pub(super) status: Option<StatusCode>,
    pub(super) head: Duration,
    pub(super) first: Duration,
    pub(super) gap: Duration,
    /// After how many words, and for how long.
    pub(super) pause: Option<(u32, Duration)>,
    pub(super) words: u32,
    pub(super) ending: Ending,
}

/// What follows the last word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Complete,
    Stall,
    Fail,
    Error,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            status: None,
            head: Duration::ZERO,
            first: Duration::ZERO,
            gap: Duration::from_millis(30),
            pause: None,
            words: 40,
            ending: Ending::Complete,
        }
    }
}

impl Manner {
    /// Reads a model's name; what is no `key=value` is only a name.
    pub(super) fn of(model: &str) -> Result<Self, String> {
        let mut manner = Self::default();
        let mut ends_after = None;
        for part in model.split('-') {
            let Some((key, value)) = part.split_once('=') else {
                continue;
            };
            let explain = |reason| format!("{part} in the model's name: {reason}");
            let ending = match key {
                "stall" => Ending::Stall,
                "fail" => Ending::Fail,
                "error" => Ending::Error,
                _ => {
                    manner.set(key, value).map_err(explain)?;
                    continue;
                }
            };
            if manner.ending != Ending::Complete {
                return Err(explain("stall, fail and error exclude each other".into()));
            }
            manner.ending = ending;
            ends_after = Some(count(value).map_err(explain)?);
        }
        manner.words = manner.words.min(ends_after.unwrap_or(MOST_WORDS));
        Ok(manner)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "words" => self.words = count(value)?,
            "gap" => self.gap = duration(value)?,
            "head" => self.head = duration(value)?,
            "first" => self.first = duration(value)?,
            "pause" => {
                let (after, time) = value.split_once(':').ok_or("write N:D, like 5:2s")?;
                self.pause = Some((count(after)?, duration(time)?));
            }
            "status" => self.status = Some(error_status(value)?),
            _ => return Err("there is no such setting".to_owned()),
        }
        Ok(())
    }

    /// The silence after `spoken` words when another one follows.
    pub(super) fn silence(&self, spoken: u32) -> Duration {
        let gap = if spoken == 0 { Duration::ZERO } else { self.gap };
        gap + self.pause_after(spoken)
    }

    /// The pause after `spoken` words.
    pub(super) fn pause_after(&self, spoken: u32) -> Duration {
        match self.pause {
            Some((after, time)) if after == spoken => time,
            _ => Duration::ZERO,
        }
    }

    /// From the request to the last word.
    pub(super) fn total(&self) -> Duration {
        let pause = match self.pause {
            Some((after, time)) if after <= self.words => time,
            _ => Duration::ZERO,
        };
        self.head + self.first + self.gap * self.words.saturating_sub(1) + pause
    }
}

fn count(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(count) if count <= MOST_WORDS => Ok(count),
        _ => Err(format!("write a number up to {MOST_WORDS}")),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    match units::duration(text)? {
        time if time <= LONGEST => Ok(time),
        _ => Err("at most 1h".to_owned()),
    }
}

fn error_status(text: &str) -> Result<StatusCode, String> {
    match text.parse::<StatusCode>() {
        Ok(status) if status.as_u16() >= 400 && status.as_u16() <= 599 => Ok(status),
        _ => Err("write a status from 400 to 599".to_owned()),
    }
}
