use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::SizeHint;
use tokio::time::Sleep;

use crate::{Gate, Log};

pub use self::error::ScriptError;

mod body;
mod error;
#[cfg(test)]
mod tests;

/// Plays its steps as a response body, and logs all that happens to it. It is its own builder.
///
/// Nothing stops it after `None`, an error, trailers or a panic: polled again it goes on with the steps that are left
/// (`.error("boom").data("late")`), which shows whether a layer lets that happen. After the last step it gives `None`
/// for ever.
///
/// Its hints are true unless a test makes them lie. So is `is_end_stream`, see [`Eos`]: hyper then never polls for
/// the `None`, and a test that wants it polled asks for [`Eos::Never`].
#[derive(Debug, Default)]
pub struct Script {
    steps: VecDeque<Step>,
    hint: SizeHint,
    eos: Eos,
    over: bool,
    /// How often it was asked at the end.
    asked: AtomicUsize,
    log: Log,
}

/// Chooses what `is_end_stream` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eos {
    /// Says true exactly when only the end is left.
    #[default]
    Truthful,
    /// Says false always, as a body that does not know.
    Never,
    /// Says true from the start, whatever follows.
    Always,
    /// Says true when only the end is left, and gates that are open: so it comes true between two polls, by another thread.
    Gated,
    /// As `Truthful`, but not before it was asked so often at the end: so it comes true between the looks of two layers.
    Late(usize),
}

#[derive(Debug)]
enum Step {
    Data(Bytes),
    Endless(Bytes),
    Pending,
    Stall,
    Sleep(Duration),
    Asleep(Pin<Box<Sleep>>),
    Wait(Gate, u64),
    Error(String),
    Panic(String),
    Trailers(HeaderMap),
    End,
}

impl Script {
    /// Begins an empty script: `None` at once.
    pub fn new() -> Self {
        Self::default()
    }

    /// Hands out a data frame, an empty one too.
    pub fn data(self, data: impl Into<Bytes>) -> Self {
        self.step(Step::Data(data.into()))
    }

    /// Hands out the same chunk for ever, always ready. Each is logged, so keep the test short.
    pub fn endless(self, chunk: impl Into<Bytes>) -> Self {
        self.step(Step::Endless(chunk.into()))
    }

    /// Is pending once, and wakes the task itself.
    pub fn pending(self) -> Self {
        self.step(Step::Pending)
    }

    /// Is pending for ever, and never wakes.
    pub fn stall(self) -> Self {
        self.step(Step::Stall)
    }

    /// Is pending for this long, from the first poll of this step on.
    pub fn sleep(self, length: Duration) -> Self {
        self.step(Step::Sleep(length))
    }

    /// Is pending until the gate is opened.
    pub fn wait(self, gate: &Gate) -> Self {
        self.step(Step::Wait(gate.clone(), gate.ticket()))
    }

    /// Hands out a [`ScriptError`] with this message.
    pub fn error(self, message: &str) -> Self {
        self.step(Step::Error(message.into()))
    }

    /// Panics in the poll.
    pub fn panic(self, message: &str) -> Self {
        self.step(Step::Panic(message.into()))
    }

    /// Hands out trailers.
    pub fn trailers(self, trailers: HeaderMap) -> Self {
        self.step(Step::Trailers(trailers))
    }

    /// Hands out `None`. The end of the script needs no such step; a false end with more behind it does.
    pub fn end(self) -> Self {
        self.step(Step::End)
    }

    /// Hints this exact size: see [`Script::hint`].
    pub fn exact_size(self, size: u64) -> Self {
        self.hint(SizeHint::with_exact(size))
    }

    /// Hints this size, less what was handed out since, as a true body does. The default is unknown.
    pub fn hint(mut self, hint: SizeHint) -> Self {
        self.hint = hint;
        self
    }

    /// Chooses what `is_end_stream` says.
    pub fn eos(mut self, eos: Eos) -> Self {
        self.eos = eos;
        self
    }

    /// Writes into a log that is already there, for a body that is made later, within a service.
    pub fn log_into(mut self, log: &Log) -> Self {
        self.log = log.clone();
        self
    }

    /// Gives the log of this body.
    pub fn log(&self) -> Log {
        self.log.clone()
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push_back(step);
        self
    }
}
