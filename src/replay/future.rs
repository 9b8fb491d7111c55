//! The response future that looks for an answer before it calls the service.

use std::{
    fmt, mem,
    panic::resume_unwind,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, request::Parts};
use http_body::Body;
use pin_project::pin_project;
use tower_service::Service;

use super::{
    MakeKey, Recorded, ReplayBody, ReplayRequest, ReplayStore, Shared,
    about::{About, Own},
    flight::{Came, Seat},
    request::Held,
};
use crate::{cut::lock, error::BoxError, exchange::Exchange};

/// The response future of [`Replay`](super::Replay).
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ReplayFuture<S, F: Future, A: Body, T, K> {
    /// `None` once the service was called, or need not be.
    asked: Option<Asked<S, A>>,
    waits: Waits<F::Output>,
    #[pin]
    calling: Option<F>,
    about: About<T, K>,
}

/// What it takes to call the service.
pub(super) struct Asked<S, A: Body> {
    pub(super) inner: S,
    pub(super) request: Parts,
    pub(super) body: Held<A>,
}

/// For what.
enum Waits<O> {
    Request,
    Store(Get),
    Others(Seat, Own<O>),
    Service,
}

type Get = Pin<Box<dyn Future<Output = Option<Recorded>> + Send>>;

impl<S, F: Future, A: Body<Data = Bytes>, T, K> ReplayFuture<S, F, A, T, K> {
    /// Asks for an answer, and calls the service if there is none.
    pub(super) fn ask(
        inner: S,
        request: Request<A>,
        shared: Arc<Shared<T, K>>,
        exchange: Exchange,
    ) -> Self {
        let (request, body) = request.into_parts();
        let (method, path) = (request.method.clone(), request.uri.path().into());
        let headers = HeaderMap::new();
        let about = About { key: None, headers, shared, exchange, method, path };
        let body = Held::new(body, about.shared.requests.clone());
        let asked = Some(Asked { inner, request, body });
        Self { asked, waits: Waits::Request, calling: None, about }
    }

    /// Waits for a service that was called.
    pub(super) fn pass(
        calling: F,
        method: Method,
        shared: Arc<Shared<T, K>>,
        exchange: Exchange,
    ) -> Self {
        let (headers, path) = (HeaderMap::new(), Arc::default());
        let about = About { key: None, headers, shared, exchange, method, path };
        Self { asked: None, waits: Waits::Service, calling: Some(calling), about }
    }
}

impl<S, A, B, T, K> Future for ReplayFuture<S, S::Future, A, T, K>
where
    S: Service<Request<ReplayRequest<A>>, Response = Response<B>> + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    A: Body<Data = Bytes, Error: Send> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    T: ReplayStore,
    K: MakeKey + Send + Sync + 'static,
{
    type Output = Result<Response<ReplayBody<B, T>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let about = this.about;
        loop {
            match this.waits {
                Waits::Request => {
                    let Some(asked) = this.asked else { return Poll::Pending };
                    if ready!(asked.body.read(about.shared.request_limit, cx)) {
                        let data = asked.body.data();
                        about.key = about.shared.key.key(&asked.request, data.as_slice());
                    }
                    if about.key.is_some() {
                        about.headers.clone_from(&asked.request.headers);
                    }
                    *this.waits = match (about.key, &about.shared.flights) {
                        (None, _) => Waits::Service,
                        (Some(key), None) => Waits::Store(Box::pin(about.shared.store.get(&key))),
                        (Some(key), Some(flights)) => {
                            let own = Own::default();
                            Waits::Others(about.board(key, flights, this.asked, &own), own)
                        }
                    };
                }
                Waits::Store(get) => {
                    let found = ready!(get.as_mut().poll(cx));
                    if let Some(recorded) = found.filter(|found| about.may_have_recorded(found)) {
                        return Poll::Ready(Ok(about.hit(recorded)));
                    }
                    *this.waits = Waits::Service;
                }
                Waits::Others(seat, own) => {
                    match ready!(seat.poll_head(cx)) {
                        Came::Found(recorded) if about.may_have_recorded(&recorded) => {
                            return Poll::Ready(Ok(about.hit(recorded)));
                        }
                        Came::Streams(head, vary)
                            if about.may_have(&head.headers, vary.as_ref()) =>
                        {
                            let waits = mem::replace(this.waits, Waits::Service);
                            let Waits::Others(seat, _) = waits else { return Poll::Pending };
                            *this.asked = None;
                            about.exchange.hear(None);
                            let body = ReplayBody::shared(seat);
                            return Poll::Ready(Ok(Response::from_parts(*head, body)));
                        }
                        Came::Panicked(message) => resume_unwind(Box::new(message.to_string())),
                        Came::Found(_) | Came::Streams(..) | Came::Alone => {}
                    }
                    let own = lock(own).take().filter(|_| seat.leads());
                    seat.decline();
                    *this.waits = Waits::Service;
                    if let Some(result) = own {
                        return Poll::Ready(result.map(|response| about.live(response)));
                    }
                }
                Waits::Service => {
                    if let Some(Asked { mut inner, request, body }) = this.asked.take() {
                        about.misses();
                        let request = Request::from_parts(request, ReplayRequest::held(body));
                        this.calling.set(Some(inner.call(request)));
                    }
                    // Polled after its end, futures may answer as they like.
                    let Some(calling) = this.calling.as_mut().as_pin_mut() else {
                        return Poll::Pending;
                    };
                    let result = ready!(calling.poll(cx));
                    this.calling.set(None);
                    return Poll::Ready(result.map(|response| about.live(response)));
                }
            }
        }
    }
}

impl<S, F: Future, A: Body, T, K> fmt::Debug for ReplayFuture<S, F, A, T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayFuture").field("key", &self.about.key).finish_non_exhaustive()
    }
}
