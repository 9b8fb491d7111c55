//! The body that waits for its own response.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tokio::task::coop;

use super::LateHead;
use crate::{
    contain::{contain, message},
    error::BoxError,
    exchange::{Cause, Exchange},
};

/// The body of a response whose head may have been early. See the [module](super) for what happens when.
#[pin_project]
pub struct EarlyHeadBody<F, B> {
    #[pin]
    state: State<F, B>,
}

#[pin_project(project = Projected)]
enum State<F, B> {
    /// The response is still to come.
    Waiting(Pin<Box<F>>, Exchange),
    /// The response came, in time or late.
    Streaming(#[pin] B),
    Ended,
}

impl<F, B> EarlyHeadBody<F, B> {
    pub(super) const fn in_time(body: B) -> Self {
        Self { state: State::Streaming(body) }
    }

    pub(super) const fn waiting(future: Pin<Box<F>>, exchange: Exchange) -> Self {
        Self { state: State::Waiting(future, exchange) }
    }
}

impl<F, B, E> Body for EarlyHeadBody<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let mut state = self.project().state;
        if let State::Ended = *state {
            return Poll::Ready(None);
        }
        let budget = ready!(coop::poll_proceed(cx));
        if let Projected::Waiting(future, exchange) = state.as_mut().project() {
            let result = match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
                Ok(polled) => ready!(polled),
                Err(payload) => {
                    exchange.record(Cause::Panicked(message(&*payload)));
                    // Not unwinding here, so that the future's Drop can not abort the process.
                    let _ = contain(|| state.set(State::Ended));
                    resume_unwind(payload)
                }
            };
            let (body, error) = judge(result, exchange);
            // The cause is recorded. Now everything may go: the future, then a body that is of no use.
            state.set(State::Ended);
            match (body, error) {
                (Some(body), None) => state.set(State::Streaming(body)),
                (_, error) => {
                    budget.made_progress();
                    return Poll::Ready(error.map(Err));
                }
            }
        }
        let Projected::Streaming(body) = state.as_mut().project() else {
            return Poll::Ready(None);
        };
        let polled = ready!(body.poll_frame(cx));
        budget.made_progress();
        let ended = match &polled {
            Some(Ok(frame)) => frame.is_trailers(),
            Some(Err(_)) | None => true,
        };
        if ended {
            state.set(State::Ended);
        }
        Poll::Ready(polled.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Waiting(..) => false,
            State::Streaming(body) => body.is_end_stream(),
            State::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Waiting(..) => SizeHint::default(),
            State::Streaming(body) => body.size_hint(),
            State::Ended => SizeHint::with_exact(0),
        }
    }
}

/// Judges what came late, and records the cause if it is of no use.
fn judge<B, E: Into<BoxError>>(
    result: Result<Response<B>, E>,
    exchange: &Exchange,
) -> (Option<B>, Option<BoxError>) {
    match result {
        Ok(response) => {
            let late = LateHead::of(&response);
            if let Some(late) = &late {
                exchange.record(late.cause());
            }
            (Some(response.into_body()), late.map(Into::into))
        }
        Err(error) => {
            let error = error.into();
            exchange.record(Cause::failed(&*error));
            (None, Some(error))
        }
    }
}

impl<F, B> fmt::Debug for EarlyHeadBody<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Waiting(..) => "waiting",
            State::Streaming(_) => "streaming",
            State::Ended => "ended",
        };
        f.debug_struct("EarlyHeadBody").field("state", &state).finish_non_exhaustive()
    }
}
