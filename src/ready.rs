//! The one service that waits for another to be ready: inside its response future, where a request has an exchange already.
//!
//! A service that takes its time in `poll_ready` (a `ConcurrencyLimit`, a `Buffer`, a connection that is being made) keeps its
//! caller from handing the request over. As long as it does, no layer outside of it can know of that request: nobody could
//! abort it, no limit would hold, no early head would go out, and if its client left nobody would tell. So every layer of this
//! crate is ready at once, and the request waits inside:
//!
//! | the inner service | what happens |
//! |---|---|
//! | is ready | it is called at once, and never cloned |
//! | is not ready yet | the layer says that it is; the request waits in its response future until the service is, and is called then |
//! | fails before it is called | the caller is told by `poll_ready` |
//! | fails while a request waits | that is the error of the response future |
//! | has a queue | the request keeps the place that `poll_ready` took: the service that was polled waits, and a clone stays |
//! | client gone, abort, time limit, while it waits | the place in the queue is given up |
//!
//! As [`Oneshot`](https://docs.rs/tower/latest/tower/util/struct.Oneshot.html) of tower does, but for a service that is called
//! often. It asks for `Clone`, as hyper, axum and tonic do of every service.
//!
//! So what depends on a service that says that it is not ready belongs *inside*: tower's `LoadShed`, `Balance`, `SpawnReady`.
//!
//! ```
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_lifeline::finalize::FinalizeLayer;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
//! let mut service = ServiceBuilder::new()
//!     .layer(FinalizeLayer::new(move |_request| {
//!         let tell = tell.clone();
//!         move |ending| drop(tell.send(ending.outcome.as_str()))
//!     }))
//!     .concurrency_limit(1)
//!     .service(service_fn(|_: Request<()>| async {
//!         std::future::pending::<Result<Response<http_body_util::Full<bytes::Bytes>>, std::io::Error>>().await
//!     }));
//!
//! use tower::Service;
//! let first = service.ready().await.unwrap().call(Request::new(()));
//! let second = service.ready().await.unwrap().call(Request::new(())); // It waits in there.
//! drop(second);
//! assert_eq!(told.recv().await, Some("disconnected"));
//! # drop(first);
//! # }
//! ```

#[cfg(test)]
mod tests;

use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project::pin_project;
use tower_service::Service;

/// A service that is always ready. See the [module](self) for what happens when.
#[derive(Clone, Debug)]
pub struct AlwaysReady<S> {
    inner: S,
    /// The inner service was not ready when it was last asked.
    waits: bool,
}

impl<S> AlwaysReady<S> {
    /// Lets requests wait for `inner`.
    pub const fn new(inner: S) -> Self {
        Self { inner, waits: false }
    }

    /// Gets the inner service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Gets the inner service, to change it.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Takes the inner service out.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, R> Service<R> for AlwaysReady<S>
where
    S: Service<R> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = AlwaysReadyFuture<S, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let polled = self.inner.poll_ready(cx);
        self.waits = polled.is_pending();
        if self.waits { Poll::Ready(Ok(())) } else { polled }
    }

    fn call(&mut self, request: R) -> Self::Future {
        let state = if mem::take(&mut self.waits) {
            // The one that was polled has its place in the queue.
            let clone = self.inner.clone();
            State::Waiting(Some((mem::replace(&mut self.inner, clone), request)))
        } else {
            State::Called(self.inner.call(request))
        };
        AlwaysReadyFuture { state }
    }
}

/// The response future of [`AlwaysReady`].
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct AlwaysReadyFuture<S: Service<R>, R> {
    #[pin]
    state: State<S, S::Future, R>,
}

#[pin_project(project = Projected)]
enum State<S, F, R> {
    /// For the service to be ready; `None` once it was called, or failed.
    Waiting(Option<(S, R)>),
    Called(#[pin] F),
}

impl<S: Service<R>, R> Future for AlwaysReadyFuture<S, R> {
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        if let Projected::Waiting(waiting) = state.as_mut().project() {
            // Polled after its end, futures may answer as they like.
            let Some((service, _)) = waiting else { return Poll::Pending };
            let ready = ready!(service.poll_ready(cx));
            let Some((mut service, request)) = waiting.take() else { return Poll::Pending };
            if let Err(error) = ready {
                return Poll::Ready(Err(error));
            }
            let calling = service.call(request);
            state.set(State::Called(calling));
        }
        match state.project() {
            Projected::Called(calling) => calling.poll(cx),
            Projected::Waiting(_) => Poll::Pending,
        }
    }
}

impl<S: Service<R>, R> fmt::Debug for AlwaysReadyFuture<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waits = matches!(self.state, State::Waiting(_));
        f.debug_struct("AlwaysReadyFuture").field("waits", &waits).finish()
    }
}
