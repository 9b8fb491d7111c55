//! The response future that looks for an answer before it calls the service.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Method, Request, Response, request::Parts};
use http_body::Body;
use pin_project::pin_project;
use tower_service::Service;

use super::{
    Key, MakeKey, Recorded, ReplayBody, ReplayRequest, ReplayStore, Replayed, Shared,
    policy::may_keep, recorder::Recorder, request::Held,
};
use crate::{exchange::Exchange, head::Framing, watch::Watched};

/// The response future of [`Replay`](super::Replay).
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ReplayFuture<S, F, A: Body, T, K> {
    /// `None` once the service was called, or need not be.
    asking: Option<Asking<S, A>>,
    #[pin]
    calling: Option<F>,
    key: Option<Key>,
    shared: Arc<Shared<T, K>>,
    exchange: Exchange,
    method: Method,
    path: Box<str>,
}

/// Whether the answer is known is not known yet.
struct Asking<S, A: Body> {
    inner: S,
    request: Parts,
    body: Held<A>,
    get: Option<Get>,
}

type Get = Pin<Box<dyn Future<Output = Option<Recorded>> + Send>>;

impl<S, F, A, T, K> ReplayFuture<S, F, A, T, K>
where
    A: Body<Data = Bytes>,
{
    /// Asks for an answer, and calls the service if there is none.
    pub(super) fn ask(
        inner: S,
        request: Request<A>,
        shared: Arc<Shared<T, K>>,
        exchange: Exchange,
    ) -> Self {
        let (request, body) = request.into_parts();
        let (method, path) = (request.method.clone(), request.uri.path().into());
        let asking = Asking { inner, request, body: Held::new(body), get: None };
        let asking = Some(asking);
        Self { asking, calling: None, key: None, shared, exchange, method, path }
    }

    /// Waits for a service that was called.
    pub(super) fn pass(
        calling: F,
        method: Method,
        shared: Arc<Shared<T, K>>,
        exchange: Exchange,
    ) -> Self {
        let (calling, path) = (Some(calling), Box::default());
        Self { asking: None, calling, key: None, shared, exchange, method, path }
    }
}

impl<S, A: Body<Data = Bytes>> Asking<S, A> {
    /// Reads the request and asks the store.
    fn poll<T: ReplayStore, K: MakeKey>(
        &mut self,
        key: &mut Option<Key>,
        shared: &Shared<T, K>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Recorded>> {
        if self.get.is_none() {
            if !ready!(self.body.read(shared.request_limit, cx)) {
                return Poll::Ready(None);
            }
            *key = shared.key.key(&self.request, &self.body.data());
            self.get = key.as_ref().map(|key| -> Get { Box::pin(shared.store.get(key)) });
        }
        match &mut self.get {
            Some(get) => get.as_mut().poll(cx),
            None => Poll::Ready(None),
        }
    }
}

impl<S, A, B, T, K> Future for ReplayFuture<S, S::Future, A, T, K>
where
    S: Service<Request<ReplayRequest<A>>, Response = Response<B>>,
    A: Body<Data = Bytes>,
    B: Body<Data = Bytes>,
    T: ReplayStore,
    K: MakeKey,
{
    type Output = Result<Response<ReplayBody<B, T>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(asking) = this.asking {
            let found = ready!(asking.poll(this.key, this.shared, cx));
            let Some(mut asked) = this.asking.take() else { return Poll::Pending };
            if let Some(recorded) = found {
                this.exchange.insert(Replayed::Hit);
                let mut response = Response::new(());
                *response.status_mut() = recorded.status();
                *response.headers_mut() = recorded.headers().clone();
                let body = ReplayBody::replayed(recorded, this.shared.paced);
                return Poll::Ready(Ok(response.map(|()| body)));
            }
            if this.key.is_some() {
                this.exchange.insert(Replayed::Miss);
            }
            let request = Request::from_parts(asked.request, ReplayRequest::held(asked.body));
            this.calling.set(Some(asked.inner.call(request)));
        }
        let Some(calling) = this.calling.as_mut().as_pin_mut() else {
            return Poll::Pending; // Polled after its end, which futures may answer as they like.
        };
        let result = ready!(calling.poll(cx));
        this.calling.set(None);
        let (head, body) = result?.into_parts();
        let framing = Framing::of(this.method, &head, &body);
        let key = this.key.take().filter(|_| may_keep(this.method, &head, &framing));
        let recorder = key.map(|key| {
            Recorder::new(this.shared, key, this.exchange.clone(), this.path, &head, &framing)
        });
        let body = ReplayBody::live(Watched::watch(body, framing, recorder));
        Poll::Ready(Ok(Response::from_parts(head, body)))
    }
}

impl<S, F, A: Body, T, K> fmt::Debug for ReplayFuture<S, F, A, T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayFuture").field("key", &self.key).finish_non_exhaustive()
    }
}
