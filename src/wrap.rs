//! The one service for layers that only wrap the response: a layer says what to do when the request passes and what when the
//! response does, and needs no service and no future of its own.
//!
//! ```
//! use http::{HeaderValue, Request, Response, request};
//! use tower::{Layer, ServiceExt, layer::layer_fn, service_fn};
//! use tower_lifeline::{exchange::{Exchange, ExchangeId}, wrap::{Guard, Plan, Wrap}};
//!
//! /// Tells each client the id of its exchange.
//! #[derive(Clone)]
//! struct Label;
//!
//! struct Id(ExchangeId);
//!
//! impl Plan for Label {
//!     type Guard = Id;
//!     fn plan(&self, exchange: &Exchange, _: &request::Parts) -> Id {
//!         Id(exchange.id())
//!     }
//! }
//!
//! impl<B, E> Guard<B, E> for Id {
//!     type Body = B;
//!     fn wrap(self, mut response: Response<B>) -> Response<B> {
//!         if let Ok(id) = HeaderValue::try_from(self.0.to_string()) {
//!             response.headers_mut().insert("x-exchange-id", id);
//!         }
//!         response
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let hello = service_fn(|_: Request<()>| async { Ok::<_, std::io::Error>(Response::new(())) });
//! let service = layer_fn(|inner| Wrap::new(inner, Label)).layer(hello);
//! assert!(service.oneshot(Request::new(())).await.unwrap().headers().contains_key("x-exchange-id"));
//! # }
//! ```

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response, request};
use pin_project::pin_project;
use tower_service::Service;

use crate::{
    contain::message,
    exchange::Exchange,
    ready::{AlwaysReady, AlwaysReadyFuture},
};

/// What a layer does when a request passes.
pub trait Plan {
    /// What waits for the response. Dropped without a word when no head ever came.
    type Guard;

    /// Looks at the request; the exchange is the one in its extensions.
    fn plan(&self, exchange: &Exchange, request: &request::Parts) -> Self::Guard;
}

/// What a layer does when the response head is there, or will never be.
pub trait Guard<B, E> {
    /// The body that the layer makes of `B`.
    type Body;

    /// Wraps the body of the response.
    fn wrap(self, response: Response<B>) -> Response<Self::Body>;

    /// Is told that the service failed. The error itself goes on to the caller.
    fn failed(self, error: &E)
    where
        Self: Sized,
    {
        let _ = error;
    }

    /// Is told that the service panicked, in its call or in its future, which is dropped by then.
    fn panicked(self, message: Arc<str>)
    where
        Self: Sized,
    {
        let _ = message;
    }
}

/// The service of every layer that only wraps the body: the layer itself says how. It is [always ready](crate::ready).
#[derive(Clone, Debug)]
pub struct Wrap<S, P> {
    inner: AlwaysReady<S>,
    plan: P,
}

impl<S, P> Wrap<S, P> {
    /// Wraps the response bodies of `inner` as `plan` says.
    pub const fn new(inner: S, plan: P) -> Self {
        Self { inner: AlwaysReady::new(inner), plan }
    }

    /// Gets the inner service.
    pub const fn get_ref(&self) -> &S {
        self.inner.get_ref()
    }

    /// Gets the inner service, to change it.
    pub const fn get_mut(&mut self) -> &mut S {
        self.inner.get_mut()
    }

    /// Takes the inner service out.
    pub fn into_inner(self) -> S {
        self.inner.into_inner()
    }
}

impl<S, P, A, B> Service<Request<A>> for Wrap<S, P>
where
    S: Service<Request<A>, Response = Response<B>> + Clone,
    P: Plan,
    P::Guard: Guard<B, S::Error>,
{
    type Response = Response<<P::Guard as Guard<B, S::Error>>::Body>;
    type Error = S::Error;
    type Future = WrapFuture<AlwaysReadyFuture<S, Request<A>>, P::Guard>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let exchange = Exchange::of(&mut request);
        let (parts, body) = request.into_parts();
        // Before the inner service is called: from here on the guard knows of the request.
        let guard = self.plan.plan(&exchange, &parts);
        let request = Request::from_parts(parts, body);
        let inner = match catch_unwind(AssertUnwindSafe(|| self.inner.call(request))) {
            Ok(inner) => inner,
            Err(payload) => {
                guard.panicked(message(&*payload));
                resume_unwind(payload)
            }
        };
        WrapFuture { inner: Some(inner), guard: Some(guard) }
    }
}

/// The response future of [`Wrap`].
// The field order is the drop order: the upstream is released before anyone is told of it.
#[derive(Debug)]
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct WrapFuture<F, G> {
    #[pin]
    inner: Option<F>,
    guard: Option<G>,
}

impl<F, G, B, E> Future for WrapFuture<F, G>
where
    F: Future<Output = Result<Response<B>, E>>,
    G: Guard<B, E>,
{
    type Output = Result<Response<G::Body>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else {
            return Poll::Pending; // Polled after its end, which futures may answer as they like.
        };
        let polled = match catch_unwind(AssertUnwindSafe(|| inner.poll(cx))) {
            Ok(polled) => ready!(polled),
            Err(payload) => {
                this.inner.set(None);
                if let Some(guard) = this.guard.take() {
                    guard.panicked(message(&*payload));
                }
                resume_unwind(payload)
            }
        };
        this.inner.set(None);
        let Some(guard) = this.guard.take() else {
            return Poll::Pending;
        };
        Poll::Ready(match polled {
            Ok(response) => Ok(guard.wrap(response)),
            Err(error) => {
                guard.failed(&error);
                Err(error)
            }
        })
    }
}
