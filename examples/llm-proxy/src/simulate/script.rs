//! A response body that follows a script of bytes and silences.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::{
    task::coop,
    time::{Sleep, sleep},
};

#[cfg(test)]
mod tests;

/// hyper drops what it has not yet written when the body fails.
const FLUSH: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) enum Step {
    Send(Bytes),
    Wait(Duration),
    /// Silence for ever.
    Stall,
    /// The connection breaks.
    Fail,
}

pub(super) struct Script<I> {
    steps: I,
    state: State,
}

enum State {
    Going,
    Waiting(Pin<Box<Sleep>>),
    Failing(Pin<Box<Sleep>>),
    Stalled,
    Ended,
}

impl<I: Iterator<Item = Step>> Script<I> {
    pub(super) fn new(steps: I) -> Self {
        Self { steps, state: State::Going }
    }
}

impl<I: Iterator<Item = Step> + Unpin> Body for Script<I> {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        // Without a gap between the words nothing else would make room for other tasks.
        let progress = ready!(coop::poll_proceed(cx));
        loop {
            self.state = match &mut self.state {
                State::Ended => return Poll::Ready(None),
                State::Stalled => return Poll::Pending,
                State::Waiting(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    State::Going
                }
                State::Failing(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    self.state = State::Ended;
                    return Poll::Ready(Some(Err(Broken)));
                }
                State::Going => match self.steps.next() {
                    Some(Step::Send(data)) if data.is_empty() => State::Going,
                    Some(Step::Send(data)) => {
                        progress.made_progress();
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                    Some(Step::Wait(Duration::ZERO)) => State::Going,
                    Some(Step::Wait(time)) => State::Waiting(Box::pin(sleep(time))),
                    Some(Step::Stall) => State::Stalled,
                    Some(Step::Fail) => State::Failing(Box::pin(sleep(FLUSH))),
                    None => State::Ended,
                },
            };
        }
    }
}

/// The script said so.
#[derive(Debug)]
pub(super) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the simulation broke off, as the model's name asked")
    }
}

impl Error for Broken {}
