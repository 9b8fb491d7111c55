//! Takes a stream at its word: an end without the dialect's terminator is none.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Method, Response, request::Parts};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tokio::task::coop;
use tower_layer::Layer;

use super::{Dialect, Terminator, Usage, UsageReport};
use crate::{
    error::BoxError,
    exchange::{Cause, Exchange},
    head::Framing,
    wrap::{Guard, Plan, Wrap},
};

/// Turns a clean end that came too early for its dialect into an error, so that nobody takes half an answer for a whole one.
///
/// Reads the [`UsageReport`] that a meter inside of it leaves in the exchange: put it directly outside of
/// [`TeeLayer::usage`](crate::tee::TeeLayer::usage), and inside of what reports the end.
///
/// ```
/// use tower_lifeline::{tee::TeeLayer, usage::TerminatorGuardLayer};
///
/// let layers = tower::ServiceBuilder::new().layer(TerminatorGuardLayer).layer(TeeLayer::usage());
/// # let _ = layers.service(());
/// ```
///
/// | event | what happens |
/// |---|---|
/// | frame, error | handed on unchanged |
/// | clean end, the terminator was seen or there is none that could be missing | handed on |
/// | clean end, the terminator is missing | [`MissingTerminator`] as an error of the body, in place of trailers too; the cause is `truncated` |
/// | clean end, an event told of a failure | handed on, for the client was told; the cause is `failed`, `upstream_error_event` |
/// | a length was announced, or there is no body; 101, CONNECT | handed on untouched |
/// | client gone, abort, panic, service error | as without this layer |
///
/// Size and headers are left alone; the end of stream is not reported before it was judged.
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

impl<B: Body, E> Guard<B, E> for TerminatorGuard
where
    B::Error: Into<BoxError>,
{
    type Body = TerminatorGuardBody<B>;

    fn wrap(self, response: Response<B>) -> Response<Self::Body> {
        let (head, body) = response.into_parts();
        let framing = Framing::of(&self.method, &head, &body);
        let judged = !framing.no_body && framing.expected.is_none();
        let body =
            TerminatorGuardBody { inner: Some(body), judge: judged.then_some(self.exchange) };
        Response::from_parts(head, body)
    }
}

/// A body whose clean end is judged. See [`TerminatorGuardLayer`] for what happens when.
#[derive(Debug)]
#[pin_project]
pub struct TerminatorGuardBody<B> {
    #[pin]
    inner: Option<B>,
    /// `None`: every end is believed.
    judge: Option<Exchange>,
}

impl<B: Body> Body for TerminatorGuardBody<B>
where
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let budget = ready!(coop::poll_proceed(cx));
        let polled = ready!(inner.poll_frame(cx));
        budget.made_progress();
        let clean = match &polled {
            Some(Ok(frame)) => frame.is_trailers(),
            Some(Err(_)) => false,
            None => true,
        };
        if clean || matches!(polled, Some(Err(_))) {
            let early = clean.then(|| this.judge.as_ref().and_then(judge)).flatten();
            this.inner.set(None); // The cause is recorded: whoever watches inside may be told.
            if let Some(error) = early {
                return Poll::Ready(Some(Err(error.into())));
            }
        }
        Poll::Ready(polled.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        let judged = self.judge.is_some();
        self.inner.as_ref().is_none_or(|inner| !judged && inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// Judges a clean end, and records what it was.
fn judge(exchange: &Exchange) -> Option<MissingTerminator> {
    let usage = UsageReport::inside(exchange)?.usage();
    // An event that told of a failure is the end of it, and the client has read that.
    (!usage.error_event && usage.terminator == Terminator::Missing).then(|| {
        exchange.record(Cause::Truncated);
        MissingTerminator(())
    })
}

/// The report, for those who stand inside, of which another exchange has the bill.
#[cfg(feature = "replay")]
#[derive(Clone)]
pub(crate) struct HandedOn(pub(crate) UsageReport);

impl UsageReport {
    /// Finds what is metered inside of this exchange, whoever pays for it.
    fn inside(exchange: &Exchange) -> Option<Self> {
        let own = exchange.fact::<Self>();
        #[cfg(feature = "replay")]
        let own = own.or_else(|| exchange.fact::<HandedOn>().map(|handed_on| handed_on.0));
        own
    }

    /// How the stream has ended by its own words, though its body has not: a client may well leave at these (truths.md, "how to
    /// tell the end"). Where nothing is said last, as in Gemini and Bedrock, it has not.
    pub(crate) fn told_end(&self) -> Option<Cause> {
        let last = |usage: &Usage| usage.dialect.is_some_and(Dialect::has_terminator);
        let (failed, over) = self
            .look(|usage| (usage.error_event, last(usage) && usage.terminator == Terminator::Seen));
        if failed {
            let reason = Some("upstream_error_event".into());
            return Some(Cause::Failed { reason, error: None });
        }
        over.then_some(Cause::Completed)
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
