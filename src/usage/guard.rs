//! Takes a stream at its word: an end without the dialect's terminator is none, and behind one nothing counts.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Method, Response, request::Parts};
use http_body::{Body, Frame, SizeHint};
use tokio::task::coop;
use tower_layer::Layer;

use super::closing::Closing;
use crate::{
    error::BoxError,
    exchange::{Cause, Exchange},
    head::Framing,
    timeouts::Activity,
    watch::{End, Ends, Watch, Watched},
    wrap::{Guard, Plan, Wrap},
};

/// Makes a stream of a language model end when it says that it ends: an end before that becomes an error, so that nobody takes
/// half an answer for a whole one; and what the upstream does after that changes nothing, so that nobody takes a whole answer
/// for a broken one.
///
/// Reads what a meter inside of it leaves in the exchange: put it directly outside of
/// [`TeeLayer::usage`](crate::tee::TeeLayer::usage), and inside of what reports the end.
///
/// ```
/// use tower_lifeline::{tee::{TeeLayer, TeeRequestLayer}, usage::TerminatorGuardLayer};
///
/// let layers = tower::ServiceBuilder::new()
///     .layer(TerminatorGuardLayer)
///     .layer(TeeRequestLayer::usage()) // Where more than one answer may be asked for.
///     .layer(TeeLayer::usage());
/// # let _ = layers.service(());
/// ```
///
/// | event | what happens |
/// |---|---|
/// | frame, error before the stream's own end | handed on unchanged |
/// | clean end behind a terminal event (see [below](super#when-a-stream-is-whole)), or where there is none that could be missing | handed on |
/// | clean end, no terminal event came, but each answer, and as many as were asked for, has its reason | handed on |
/// | clean end, and the answer is not whole ([`Usage::unfinished`](super::Usage::unfinished)) | [`MissingTerminator`] as an error of the body, in place of trailers too; the cause is `truncated` |
/// | clean end, an event told of a failure | handed on, for the client was told; the cause is `failed`, `upstream_error_event` |
/// | behind a terminal event, or an error event: frames, trailers | handed on unchanged |
/// | the same: an error, a reset connection | a clean end |
/// | the same: nothing for 1 s but comments, or 5 s have passed in all | the inner body is dropped, polled or not; a clean end |
/// | the same: a limit of [`TimeoutsLayer`](crate::timeouts) on the upstream | nothing |
/// | the same: an abort, a client that leaves or does not read | the inner body is dropped; a clean end; the cause stays what the stream said |
/// | a length was announced | handed on untouched, but the cause of a clean end that came too early is `truncated` |
/// | there is no body; no success; 101, CONNECT | handed on untouched |
/// | panic, service error | as without this layer |
///
/// The times need a tokio runtime; without one they do not pass. Size and headers are left alone; the end of stream is not
/// reported before it was judged. Allocates per response, never per frame, and runs a task only from the terminal event to the
/// end.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct TerminatorGuardLayer;

/// The service made by [`TerminatorGuardLayer`].
pub type TerminatorGuarded<S> = Wrap<S, TerminatorGuardLayer>;

impl<S> Layer<S> for TerminatorGuardLayer {
    type Service = TerminatorGuarded<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Wrap::new(inner, *self)
    }
}

impl Plan for TerminatorGuardLayer {
    type Guard = TerminatorGuard;

    fn plan(&self, exchange: &Exchange, request: &Parts) -> TerminatorGuard {
        TerminatorGuard { exchange: exchange.clone(), method: request.method.clone() }
    }
}

/// Waits for the response whose end is to be judged.
#[derive(Debug)]
pub struct TerminatorGuard {
    exchange: Exchange,
    method: Method,
}

impl<B, E> Guard<B, E> for TerminatorGuard
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Body = TerminatorGuardBody<B>;

    fn wrap(self, response: Response<B>) -> Response<Self::Body> {
        let (head, body) = response.into_parts();
        let framing = Framing::of(&self.method, &head, &body);
        // The body of a refusal is what it is, and no stream of the model's.
        let judged = head.status.is_success() && !framing.no_body;
        let body = if judged && framing.expected.is_some() {
            let witness = Witness(self.exchange);
            let body = Box::pin(Watched::watch(body, framing, Some(witness)));
            TerminatorGuardBody { state: State::Announced(body), judge: None }
        } else {
            let judge = Judge { exchange: self.exchange, activity: Activity::by_media(&head) };
            let judge = judged.then_some(judge);
            TerminatorGuardBody { state: State::Open(Box::pin(body)), judge }
        };
        Response::from_parts(head, body)
    }
}

/// A body whose end is the one that its stream says. See [`TerminatorGuardLayer`] for what happens when.
pub struct TerminatorGuardBody<B: Body> {
    state: State<B>,
    /// `None`: every end is believed.
    judge: Option<Judge>,
}

enum State<B: Body> {
    Open(Pin<Box<B>>),
    /// Its length was announced: nothing of it can be changed.
    Announced(Pin<Box<Watched<B, Witness>>>),
    /// The stream has said its end.
    Closing(Closing<B>),
    Ended,
}

#[derive(Debug)]
struct Judge {
    exchange: Exchange,
    /// Tells events from comments, for which nobody waits behind the end.
    activity: Activity,
}

impl Judge {
    /// Judges a clean end, and records what it was.
    fn judge(&self) -> Option<MissingTerminator> {
        self.exchange.said().unfinished.then(|| {
            self.exchange.record(Cause::Truncated);
            MissingTerminator(())
        })
    }
}

/// Writes down what a clean end was where it can not be changed.
#[derive(Debug)]
struct Witness(Exchange);

impl Ends for Witness {
    fn end(self, end: End) {
        if matches!(end, End::Completed) && self.0.said().unfinished {
            self.0.record(Cause::Truncated);
        }
    }
}

impl<D, E> Watch<D, E> for Witness {
    fn frame(&mut self, _: &Frame<D>) {}

    fn error(&mut self, _: &E) {}
}

impl<B> Body for TerminatorGuardBody<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Self { state, judge } = &mut *self;
        let budget = ready!(coop::poll_proceed(cx));
        let polled = match state {
            State::Open(body) => ready!(body.as_mut().poll_frame(cx)),
            State::Announced(body) => ready!(body.as_mut().poll_frame(cx)),
            State::Closing(closing) => ready!(closing.poll(cx)),
            State::Ended => return Poll::Ready(None),
        };
        budget.made_progress();
        let over = judge.as_ref().is_some_and(|judge| judge.exchange.is_over());
        if let Some(data) = polled.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            let progress = judge.as_mut().is_some_and(|judge| judge.activity.sees(data));
            match state {
                State::Closing(closing) if progress => closing.progress(),
                State::Open(_) if over => {
                    if let State::Open(body) = std::mem::replace(state, State::Ended) {
                        *state = State::Closing(Closing::of(body));
                        judge.iter().for_each(|judge| judge.exchange.will_close());
                    }
                }
                _ => {}
            }
            return Poll::Ready(polled.map(|frame| frame.map_err(Into::into)));
        }
        let early = match &polled {
            Some(Err(_)) => None,
            Some(Ok(_)) | None => judge.as_ref().and_then(Judge::judge),
        };
        *state = State::Ended; // The cause is recorded: whoever watches inside may be told.
        Poll::Ready(match (early, polled) {
            (Some(error), _) => Some(Err(error.into())),
            (None, Some(Err(_))) if over => None,
            (None, polled) => polled.map(|frame| frame.map_err(Into::into)),
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Open(body) => self.judge.is_none() && body.is_end_stream(),
            State::Announced(body) => body.is_end_stream(),
            State::Closing(_) => false,
            State::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Open(body) => body.size_hint(),
            State::Announced(body) => body.size_hint(),
            State::Closing(_) => SizeHint::new(),
            State::Ended => SizeHint::with_exact(0),
        }
    }
}

impl<B: Body> fmt::Debug for TerminatorGuardBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TerminatorGuardBody").field("judge", &self.judge).finish_non_exhaustive()
    }
}

/// A stream ended cleanly and without the terminator of its dialect.
#[derive(Clone, Debug)]
pub struct MissingTerminator(());

impl fmt::Display for MissingTerminator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the upstream's stream ended before it was complete")
    }
}

impl Error for MissingTerminator {}
