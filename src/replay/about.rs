//! What is done with an answer: replayed, handed on, shared.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, response};
use http_body::Body;
use tower_service::Service;

use super::{
    Key, Recorded, ReplayBody, ReplayRequest, ReplayStore, Replayed, Shared,
    flight::{Call, Called, Flights, Seat},
    future::Asked,
    policy::{kept_head, may_keep, may_share},
    recorder::{Answer, Recorder},
    vary::selected,
};
use crate::{
    cut::lock, error::BoxError, exchange::Exchange, head::Framing, log::compact, watch::Watched,
};

/// What there is to know of an answer besides itself.
pub(super) struct About<T, K> {
    pub(super) key: Option<Key>,
    /// Of the request, if it has a key.
    pub(super) headers: HeaderMap,
    pub(super) shared: Arc<Shared<T, K>>,
    pub(super) exchange: Exchange,
    pub(super) method: Method,
    pub(super) path: Arc<str>,
}

/// What came of a call that is not shared after all, for the one whose request it was.
pub(super) type Own<O> = Arc<Mutex<Option<O>>>;

impl<T: ReplayStore, K> About<T, K> {
    /// Whether an answer with this head, that was given to one who said `vary` in the headers that count, is for this one, too.
    pub(super) fn may_have(&self, answer: &HeaderMap, vary: Option<&Key>) -> bool {
        selected(answer, &self.headers).as_ref() == vary
    }

    pub(super) fn may_have_recorded(&self, recorded: &Recorded) -> bool {
        self.may_have(recorded.headers(), recorded.vary())
    }

    pub(super) fn hit<B: Body>(&self, recorded: Recorded) -> Response<ReplayBody<B, T>> {
        self.exchange.insert(Replayed::Hit);
        self.exchange.insert(recorded.terminator());
        let mut response = Response::new(());
        *response.status_mut() = recorded.status();
        *response.headers_mut() = recorded.headers().clone();
        response.map(|()| ReplayBody::replayed(recorded, self.shared.paced))
    }

    pub(super) fn misses(&self) {
        if self.key.is_some() {
            self.exchange.insert(Replayed::Miss);
        }
    }

    /// The answer as it comes, kept for others if it may be.
    pub(super) fn live<B: Body<Data = Bytes>>(
        &self,
        response: Response<B>,
    ) -> Response<ReplayBody<B, T>> {
        let (head, body) = response.into_parts();
        let framing = Framing::of(&self.method, &head, &body);
        let answer = Arc::new(Mutex::new(Answer::new(&self.shared.terms)));
        let body = self.recorded(&head, body, framing, &answer);
        Response::from_parts(head, body)
    }

    fn recorded<B: Body<Data = Bytes>>(
        &self,
        head: &response::Parts,
        body: B,
        framing: Framing,
        answer: &Arc<Mutex<Answer>>,
    ) -> ReplayBody<B, T> {
        let key = self.key.filter(|_| may_keep(&self.method, head, &framing));
        let recorder = key.map(|key| {
            let vary = selected(&head.headers, &self.headers);
            let (exchange, head) = (self.exchange.clone(), (head, &framing));
            Recorder::new(&self.shared, key, exchange, &self.path, head, answer).with_vary(vary)
        });
        ReplayBody::live(Watched::watch(body, framing, recorder))
    }

    /// Whether others may have this answer, of which there has to be a beginning that all of them get.
    fn is_shared(&self, head: &response::Parts, framing: &Framing) -> bool {
        let room = (self.shared.terms.limit / 2) as u64;
        framing.expected.is_none_or(|expected| expected <= room) && may_share(&self.method, head)
    }

    /// The answer as all of them read it, kept if it may be.
    fn streams<B>(&self, head: response::Parts, body: B, framing: Framing) -> Called
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let answer = Arc::new(Mutex::new(Answer::new(&self.shared.terms)));
        let body = Box::pin(self.recorded(&head, body, framing, &answer));
        let mut others = Box::new(kept_head(&head, &self.shared.kept).into_parts().0);
        others.headers = compact(&others.headers);
        let expected = framing.expected.filter(|_| !framing.no_body);
        let vary = selected(&head.headers, &self.headers);
        Called::Streams { head: Box::new(head), others, body, answer, expected, vary }
    }
}

impl<T, K> About<T, K>
where
    T: ReplayStore,
    K: Send + Sync + 'static,
{
    /// Joins an equal request that is under way, or makes this one the first.
    pub(super) fn board<S, A, B>(
        &self,
        key: Key,
        flights: &Arc<Flights>,
        asked: &mut Option<Asked<S, A>>,
        own: &Own<Result<Response<B>, S::Error>>,
    ) -> Seat
    where
        S: Service<Request<ReplayRequest<A>>, Response = Response<B>> + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        A: Body<Data = Bytes, Error: Send> + Send + 'static,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let seat = flights.board(key, &self.exchange, &self.shared.terms);
        if !seat.leads() {
            self.exchange.insert(Replayed::Join);
        } else if let Some(asked) = asked.take() {
            seat.begin(self.clone().first(key, asked, Arc::clone(own)));
        }
        seat
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
            let found = self.shared.store.get(&key).await;
            if let Some(recorded) = found.filter(|found| self.may_have_recorded(found)) {
                return Called::Found(recorded);
            }
            self.misses();
            let request = Request::from_parts(asked.request, ReplayRequest::held(asked.body));
            let alone = match asked.inner.call(request).await {
                Err(error) => Err(error),
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    let framing = Framing::of(&self.method, &head, &body);
                    if self.is_shared(&head, &framing) {
                        return self.streams(head, body, framing);
                    }
                    Ok(Response::from_parts(head, body))
                }
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
            headers: self.headers.clone(),
            shared: self.shared.clone(),
            exchange: self.exchange.clone(),
            method: self.method.clone(),
            path: self.path.clone(),
        }
    }
}
