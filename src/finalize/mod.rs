//! Tells how each exchange ended, exactly once.
//!
//! ```
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_lifeline::finalize::FinalizeLayer;
//! # use bytes::Bytes;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
//! let layer = FinalizeLayer::new(move |request| {
//!     let (tell, path) = (tell.clone(), request.uri.path().to_owned());
//!     move |ending| drop(tell.send(format!("{path} {}: {} bytes", ending.outcome, ending.bytes)))
//! });
//! let service = layer.layer(service_fn(|_: Request<()>| async {
//!     Ok::<_, std::io::Error>(Response::new(Full::<Bytes>::from("hello")))
//! }));
//!
//! let response = service.oneshot(Request::get("/greet").body(()).unwrap()).await.unwrap();
//! response.into_body().collect().await.unwrap();
//! assert_eq!(told.recv().await.unwrap(), "/greet completed: 5 bytes");
//! # }
//! ```
//!
//! | event | reader | hook |
//! |---|---|---|
//! | head | gets it unchanged | [`Finalizer::on_response`] |
//! | data frame | gets it unchanged, at once | – (see [`Progress`](crate::exchange::Progress)) |
//! | trailers, end of stream | gets them | `completed`; `truncated` when fewer bytes came than announced |
//! | every announced byte, or a response without a body, then dropped | has all there is | `completed` |
//! | error of the body or the service | gets it, the very same | [`Finalizer::on_error`], then `failed` |
//! | client gone: before the head, before the first frame, in the stream | – | `disconnected`; inside of a [`DetachLayer`](crate::detach) when the rest was read, with [`Ending::drained`] |
//! | body dropped before anyone read from it | – | `discarded` |
//! | abort, time limit | see that layer | `aborted`, `timed_out`, with the reason, at once, polled or not |
//! | panic of the service or the body | gets the panic | `panicked`, with its message |
//! | 101, 2xx to CONNECT | gets the connection | `completed`, at the head |
//! | the same, marked as a [`Tunnel`](crate::tunnel::Tunnel) | – | how the tunnel ended; [`Ending::bytes`] went to the client |
//! | the runtime shuts down | – | `disconnected`, on the thread that drops the body |
//!
//! Size, headers, trailers, `size_hint` and `is_end_stream` are left alone, and so are both error types.
//!
//! The hook runs inside the body's poll or drop, outside of all locks, after the inner body was dropped (but for an end
//! that is told by the end-of-stream flag, where it stays), and it needs no
//! runtime. With the feature `tracing` it runs in the span that was current at the call, wherever the end comes from: also when
//! its client left. (Inside of tower-http's `TraceLayer` that is the request's span, which is open until then.) A hook that blocks holds up the task that it runs on; [`FinalizeLayer::spawned`] runs an async one in a task
//! of its own. A hook that panics is counted in [`FinalizeTracker::hook_panics`] and harms nothing else.
//!
//! Put it outside of a retry layer. Inside of one it reports each attempt, and what it says of the first is the outcome of the
//! whole exchange, for every layer; limits and aborts hold for the attempts that follow.
//!
//! What no layer inside of the process can know: whether bytes that were handed to hyper reached the client; a client
//! that sends nothing and has gone silent; a process that is killed.

mod ending;
mod reporter;
mod spawned;
#[cfg(test)]
mod tests;
#[cfg(feature = "tracing")]
mod traced;
mod tracker;

use std::{fmt, marker::PhantomData};

use bytes::Buf;
use http::request::Parts;
use http_body::Body;
use tower_layer::Layer;

#[cfg(feature = "tracing")]
pub use self::traced::Traced;
pub use self::{
    ending::Ending,
    reporter::{Finalizer, Reporter},
    spawned::Spawned,
    tracker::FinalizeTracker,
};
use crate::{
    error::AsError,
    exchange::Exchange,
    head::Framing,
    watch::{Awaiting, Watched},
    wrap::{Plan, Wrap},
};

/// A body that reports its end. See the [module](self) for what happens when.
pub type FinalizeBody<B, H, M> = Watched<B, Reporter<H, M>>;

impl<B: Body, H: FnOnce(Ending), M> FinalizeBody<B, H, (M, ())>
where
    B::Data: Buf,
    B::Error: AsError<M>,
{
    /// Calls `hook` when `body` has ended.
    pub fn new(body: B, hook: H) -> Self {
        let framing = Framing::of_body(&body);
        let reporter = Reporter::new(Exchange::new(), hook, FinalizeTracker::new());
        Self::watch(body, framing, Some(reporter))
    }
}

/// Calls a hook with the [`Ending`] of each exchange. See the [module](self) for what happens when.
///
/// The outer closure runs when a request passes, before the inner service is called; the inner one runs once, at the end.
/// The parameter `M` is inferred and has no meaning of its own (see [`AsError`]).
#[must_use]
pub struct FinalizeLayer<F, M> {
    make_hook: F,
    tracker: FinalizeTracker,
    error_types: PhantomData<fn() -> M>,
}

/// The service made by [`FinalizeLayer`].
pub type Finalize<S, F, M> = Wrap<S, FinalizeLayer<F, M>>;

impl<F, M> FinalizeLayer<F, M> {
    /// Calls the closure that `make_hook` returns for a request when its exchange has ended.
    pub fn new<H>(make_hook: F) -> Self
    where
        F: Fn(&Parts) -> H,
        H: FnOnce(Ending),
    {
        Self::with(make_hook)
    }

    /// As [`new`](Self::new), for a [`Finalizer`] that wants to see the head and the error too.
    pub fn with<H>(make_finalizer: F) -> Self
    where
        F: Fn(&Parts) -> H,
        H: Finalizer,
    {
        Self {
            make_hook: make_finalizer,
            tracker: FinalizeTracker::new(),
            error_types: PhantomData,
        }
    }

    /// Counts the live exchanges and the panics of this layer, and can wait for its endings.
    pub fn tracker(&self) -> FinalizeTracker {
        self.tracker.clone()
    }
}

impl<M> FinalizeLayer<(), M> {
    /// Runs an async hook as a task on the runtime that was current at the call.
    ///
    /// `fallback` is called instead, synchronously, when the task could not run to its end: the runtime was gone or shut
    /// down, or there was none. [`FinalizeTracker::drained`] waits for the tasks.
    ///
    /// ```
    /// use tower_lifeline::finalize::FinalizeLayer;
    ///
    /// let layer = FinalizeLayer::spawned(
    ///     |_request| |ending| async move { println!("to the database: {}", ending.outcome) },
    ///     |ending| eprintln!("lost: {}", ending.outcome),
    /// );
    /// let tracker = layer.tracker();
    /// # let _: tower_lifeline::finalize::Finalize<(), _, ()> = tower_layer::Layer::layer(&layer, ());
    /// ```
    pub fn spawned<F, H, T, L>(
        make_hook: F,
        fallback: L,
    ) -> FinalizeLayer<impl Fn(&Parts) -> Spawned<H, L> + Clone, M>
    where
        F: Fn(&Parts) -> H + Clone,
        H: FnOnce(Ending) -> T,
        T: Future<Output = ()> + Send + 'static,
        L: Fn(Ending) + Clone + Send + 'static,
    {
        let tracker = FinalizeTracker::new();
        let make_hook = {
            let tracker = tracker.clone();
            move |request: &Parts| Spawned::new(make_hook(request), fallback.clone(), &tracker)
        };
        FinalizeLayer { make_hook, tracker, error_types: PhantomData }
    }
}

#[cfg(feature = "tracing")]
impl<M> FinalizeLayer<(), M> {
    /// Writes one `tracing` event for each exchange, as described at [`Traced`].
    pub fn traced() -> FinalizeLayer<impl Fn(&Parts) -> Traced + Clone, M> {
        FinalizeLayer::with(|request: &Parts| Traced::new(request))
    }
}

impl<S, F: Clone, M> Layer<S> for FinalizeLayer<F, M> {
    type Service = Finalize<S, F, M>;

    fn layer(&self, inner: S) -> Self::Service {
        Wrap::new(inner, self.clone())
    }
}

impl<F, H, M> Plan for FinalizeLayer<F, M>
where
    F: Fn(&Parts) -> H,
    H: Finalizer,
{
    type Guard = Awaiting<Reporter<H, M>>;

    fn plan(&self, exchange: &Exchange, request: &Parts) -> Self::Guard {
        let hook = (self.make_hook)(request);
        let reporter = Reporter::new(exchange.clone(), hook, self.tracker.clone());
        Awaiting::new(request.method.clone(), reporter)
    }
}

impl<F: Clone, M> Clone for FinalizeLayer<F, M> {
    fn clone(&self) -> Self {
        let make_hook = self.make_hook.clone();
        Self { make_hook, tracker: self.tracker.clone(), error_types: PhantomData }
    }
}

impl<F, M> fmt::Debug for FinalizeLayer<F, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FinalizeLayer").field("tracker", &self.tracker).finish_non_exhaustive()
    }
}
