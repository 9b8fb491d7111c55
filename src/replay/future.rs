//! The response future that looks for an answer before it calls the service.

use std::{
    fmt, mem,
    panic::resume_unwind,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Method, Request, Response, request::Parts, response};
use http_body::Body;
use pin_project::pin_project;
use tower_service::Service;

use super::{
    Key, MakeKey, Recorded, ReplayBody, ReplayRequest, ReplayStore, Replayed, Shared,
    flight::{Call, Called, Came, Flights, Seat},
    policy::{kept, may_keep, may_share},
    recorder::Recorder,
    request::Held,
};
use crate::{cut::lock, error::BoxError, exchange::Exchange, head::Framing, watch::Watched};

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
struct Asked<S, A: Body> {
    inner: S,
    request: Parts,
    body: Held<A>,
}

/// For what.
enum Waits<O> {
    Request,
    Store(Get),
    Others(Seat, Own<O>),
    Service,
}

type Get = Pin<Box<dyn Future<Output = Option<Recorded>> + Send>>;
/// What came of a call that is not shared after all, for the one whose request it was.
type Own<O> = Arc<Mutex<Option<O>>>;

/// What there is to know of an answer besides itself.
struct About<T, K> {
    key: Option<Key>,
    shared: Arc<Shared<T, K>>,
    exchange: Exchange,
    method: Method,
    path: Arc<str>,
}

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
        let about = About { key: None, shared, exchange, method, path };
        let asked = Some(Asked { inner, request, body: Held::new(body) });
        Self { asked, waits: Waits::Request, calling: None, about }
    }

    /// Waits for a service that was called.
    pub(super) fn pass(
        calling: F,
        method: Method,
        shared: Arc<Shared<T, K>>,
        exchange: Exchange,
    ) -> Self {
        let about = About { key: None, shared, exchange, method, path: Arc::default() };
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
                        about.key = about.shared.key.key(&asked.request, &asked.body.data());
                    }
                    *this.waits = match (about.key, &about.shared.flights) {
                        (None, _) => Waits::Service,
                        (Some(key), None) => Waits::Store(Box::pin(about.shared.store.get(&key))),
                        (Some(key), Some(flights)) => about.board(key, flights, this.asked),
                    };
                }
                Waits::Store(get) => {
                    if let Some(recorded) = ready!(get.as_mut().poll(cx)) {
                        return Poll::Ready(Ok(about.hit(recorded)));
                    }
                    *this.waits = Waits::Service;
                }
                Waits::Others(seat, own) => {
                    match ready!(seat.poll_head(cx)) {
                        Came::Found(recorded) => return Poll::Ready(Ok(about.hit(recorded))),
                        Came::Streams(head) => {
                            let waits = mem::replace(this.waits, Waits::Service);
                            let Waits::Others(seat, _) = waits else { return Poll::Pending };
                            *this.asked = None;
                            let body = ReplayBody::shared(seat);
                            return Poll::Ready(Ok(Response::from_parts(*head, body)));
                        }
                        Came::Panicked(message) => resume_unwind(Box::new(message.to_string())),
                        Came::Alone => {}
                    }
                    let own = lock(own).take().filter(|_| seat.leads());
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

impl<T: ReplayStore, K> About<T, K> {
    fn hit<B>(&self, recorded: Recorded) -> Response<ReplayBody<B, T>> {
        self.exchange.insert(Replayed::Hit);
        self.exchange.insert(recorded.terminator());
        let mut response = Response::new(());
        *response.status_mut() = recorded.status();
        *response.headers_mut() = recorded.headers().clone();
        response.map(|()| ReplayBody::replayed(recorded, self.shared.paced))
    }

    fn misses(&self) {
        if self.key.is_some() {
            self.exchange.insert(Replayed::Miss);
        }
    }

    /// The answer as it comes, kept for others if it may be.
    fn live<B: Body<Data = Bytes>>(&self, response: Response<B>) -> Response<ReplayBody<B, T>> {
        let (head, body) = response.into_parts();
        let framing = Framing::of(&self.method, &head, &body);
        let key = self.key.filter(|_| may_keep(&self.method, &head, &framing));
        let recorder = key.map(|key| {
            Recorder::new(&self.shared, key, self.exchange.clone(), &self.path, &head, &framing)
        });
        Response::from_parts(head, ReplayBody::live(Watched::watch(body, framing, recorder)))
    }

    /// Whether others may have this answer, of which there has to be a beginning that all of them get.
    fn is_shared<B: Body>(&self, response: Response<B>) -> Result<Response<B>, Response<B>> {
        let (head, body) = response.into_parts();
        let expected = Framing::of(&self.method, &head, &body).expected;
        let room = (self.shared.terms.limit / 2) as u64;
        let fits = expected.is_none_or(|expected| expected <= room);
        let shared = fits && may_share(&self.method, &head);
        let response = Response::from_parts(head, body);
        if shared { Ok(response) } else { Err(response) }
    }

    /// The head for those who joined.
    fn head_for_others(&self, head: &response::Parts) -> response::Parts {
        let mut others = Response::new(());
        *others.status_mut() = head.status;
        *others.headers_mut() = kept(&head.headers, &self.shared.kept);
        others.into_parts().0
    }
}

impl<T, K> About<T, K>
where
    T: ReplayStore,
    K: Send + Sync + 'static,
{
    /// Joins an equal request that is under way, or makes this one the first.
    fn board<S, A, B>(
        &self,
        key: Key,
        flights: &Arc<Flights>,
        asked: &mut Option<Asked<S, A>>,
    ) -> Waits<Result<Response<B>, S::Error>>
    where
        S: Service<Request<ReplayRequest<A>>, Response = Response<B>> + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        A: Body<Data = Bytes, Error: Send> + Send + 'static,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let (seat, own) = (flights.board(key, &self.exchange, &self.shared.terms), Own::default());
        if !seat.leads() {
            self.exchange.insert(Replayed::Join);
        } else if let Some(asked) = asked.take() {
            seat.begin(self.clone().first(key, asked, Arc::clone(&own)));
        }
        Waits::Others(seat, own)
    }

    /// What the first one does, for all: it looks into the store only now, so that nobody comes between that and the call.
    fn first<S, A, B>(
        self,
        key: Key,
        mut asked: Asked<S, A>,
        own: Own<Result<Response<B>, S::Error>>,
    ) -> Call
    where
        S: Service<Request<ReplayRequest<A>>, Response = Response<B>> + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        A: Body<Data = Bytes, Error: Send> + Send + 'static,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        Box::pin(async move {
            if let Some(recorded) = self.shared.store.get(&key).await {
                return Called::Found(recorded);
            }
            self.misses();
            let request = Request::from_parts(asked.request, ReplayRequest::held(asked.body));
            let result = asked.inner.call(request).await;
            let result = result.map(|response| self.is_shared(response));
            let alone = match result {
                Ok(Ok(response)) => {
                    let (head, body) = self.live(response).into_parts();
                    let others = Box::new(self.head_for_others(&head));
                    return Called::Streams { head: Box::new(head), others, body: Box::pin(body) };
                }
                Ok(Err(response)) => Ok(response),
                Err(error) => Err(error),
            };
            *lock(&own) = Some(alone);
            Called::Alone
        })
    }
}

impl<T, K> Clone for About<T, K> {
    fn clone(&self) -> Self {
        Self {
            key: self.key,
            shared: self.shared.clone(),
            exchange: self.exchange.clone(),
            method: self.method.clone(),
            path: self.path.clone(),
        }
    }
}

impl<S, F: Future, A: Body, T, K> fmt::Debug for ReplayFuture<S, F, A, T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayFuture").field("key", &self.about.key).finish_non_exhaustive()
    }
}
