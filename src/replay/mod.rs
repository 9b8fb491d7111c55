//! Serves a recorded, complete answer again to an equal request.
//!
//! ```
//! use std::{sync::{Arc, atomic::{AtomicUsize, Ordering}}, time::Duration};
//! use bytes::Bytes;
//! use http::{Method, Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_lifeline::replay::{MemoryStore, ReplayLayer, RequestKey};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let calls = Arc::new(AtomicUsize::new(0));
//! let called = calls.clone();
//! let store = MemoryStore::new(64 * 1024 * 1024, Duration::from_secs(60));
//! let key = RequestKey::new().also(Method::POST, "/ask");
//! let service = ReplayLayer::new(store, key).layer(service_fn(move |_| {
//!     called.fetch_add(1, Ordering::Relaxed);
//!     async { Ok::<_, std::io::Error>(Response::new(Full::<Bytes>::from("42"))) }
//! }));
//!
//! for (who, calls_by_now) in [("alice", 1), ("alice", 1), ("bob", 2)] {
//!     let question = Request::post("/ask").header("authorization", who);
//!     let question = question.body(Full::<Bytes>::from("6 * 7?")).unwrap();
//!     let response = service.clone().oneshot(question).await.unwrap();
//!     assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "42");
//!     assert_eq!(calls.load(Ordering::Relaxed), calls_by_now);
//! }
//! # }
//! ```
//!
//! | event | what happens |
//! |---|---|
//! | request that [may have a key](MakeKey::may_have_key), with a body of at most 1 MiB that says so beforehand, or none | its body is read, and then its key is made |
//! | its answer is in the store | the answer, without calling the service: status, chosen headers, the very frames, trailers; at once, or [paced](ReplayLayer::paced). The fact [`Replayed::Hit`] |
//! | it is not | the service is called with the request as it was, and its answer recorded while it streams. The fact [`Replayed::Miss`] |
//! | it is not, and an equal request runs | the same, or under [`ReplayLayer::coalesce`] what [is said below](#requests-that-run-at-the-same-time) |
//! | no key; body too large, of unknown length, or with trailers; no memory left for it ([`ReplayLayer::requests_within`]); `CONNECT` | the service is called, with the request as it was. No fact |
//! | client's body fails while it is read | the service gets what came and then the error |
//! | complete answer | it is kept |
//! | failed, truncated, aborted, timed out, panicked, client gone before its end | it is not kept, unless others read it to its end; what was kept before stays |
//! | client gone, and a [`DetachLayer`](crate::detach) outside reads on to the end | it is kept |
//! | end without the dialect's terminator, or an error event ([`usage`](crate::usage)) | it is not kept |
//! | not 2xx; 206; no body; larger than [`ReplayLayer::answer_limit`]; gRPC | it is not kept |
//! | `set-cookie`; `cache-control: no-store` or `private`; `vary: *`; a content coding | it is not kept |
//! | service error, panic of the service, of its body or of the key | goes on to the caller |
//! | panic of the store as it keeps an answer | is contained |
//!
//! Of `cache-control` nothing else counts: streams of language models all say `no-cache`, and who puts this layer in
//! decides for how long an answer is good.
//!
//! An answer whose `vary` names headers is only for requests that say the same in them as the one that it was given to, whatever
//! their keys are. Of several that differ in these the last is kept, as browsers do: one entry for each key.
//!
//! **Whose answer it is must be in the key**, or one client gets what belongs to another: see [`RequestKey`]. Who is told apart
//! by a certificate or an address needs a key of your own, and whether a client may still ask at all is to be checked outside
//! of this layer, since a replay does not reach the service.
//!
//! A stream of no known dialect is taken at its word: where nothing but a closed connection ends it, half of it looks whole.
//!
//! A request body that is read is copied, frame by frame, so that a small one does not hold the buffer that it was read into: it
//! takes at most twice its bytes and a block of 16 KiB.
//!
//! A replay has the exact size that the original announced, or else none, so that a stream stays a stream. While an answer is
//! recorded its frames are copied into blocks of memory, once for the store and for all who join; they hold at most
//! [`ReplayLayer::answer_limit`] bytes of it, and take at most twice as much memory and two blocks of 16 KiB
//! ([`ReplayLayer::within`] limits the memory of all together). A complete one is copied into one piece.
//!
//! # Requests that run at the same time
//!
//! Each calls the service, unless [`ReplayLayer::coalesce`] says otherwise. Then the first one does, and who comes while it
//! runs joins it, with the fact [`Replayed::Join`]:
//!
//! | event | what happens |
//! |---|---|
//! | request, from before the head until the end | what was streamed so far, and then the live tail; with the status and the chosen headers |
//! | request after half of [`ReplayLayer::answer_limit`] has streamed | it calls the service itself, and can be joined |
//! | reader that takes its time | holds up nobody. The one that is ahead polls the service's body, whoever it is, in the span of the first one's call |
//! | reader that joined, and is more than [`ReplayLayer::answer_limit`] behind it | its body fails with [`FellBehind`] |
//! | the first one, so far behind | is cut by nobody: those who joined wait until it reads on or leaves. So give it a limit ([`unread`](crate::timeouts)) |
//! | room for that, up to 1 MiB | is taken from the [budget](ReplayLayer::within) as the first one joins, so that what others hold cuts nobody. There is none: the request calls the service itself. Beyond 1 MiB, there must be more of it when it is needed |
//! | reader gone or cut, the first one too | the others read on; the last one that could drops the call or the body at once |
//! | reader gone before the head, or cut by a limit or an abort | the same; and who comes from then on calls the service, for what others gave up may hang |
//! | reader gone, and a [`DetachLayer`](crate::detach) outside reads on | it counts as a reader until that is done |
//! | clean end, trailers | reach all, and what was found to be wrong with it (truncated, an event that tells of a failure) does too |
//! | error or panic of the body | [`SharedFailure`] for each with the error, or a [`BodyPanicked`](crate::error::BodyPanicked), as its source; as it came for one who is alone |
//! | answer that says no (4xx, 5xx) | is shared as any other, and not kept |
//! | answer whose `vary` names a header in which the request differs from the first one's | the request calls the service itself, as soon as the head is there. The answer is the first one's, and theirs who say the same |
//! | service error, panic of the service | goes to the first one. The others call the service themselves, since an error has one owner |
//! | answer for one only (`set-cookie`, `private`, 3xx, 412, ...), or that announces too many bytes | the same |
//!
//! One that waits for the head holds its request, and the service that was asked to be ready for it (and with that, say, a
//! permit of a concurrency limit inside, or its place in the queue for one). A service that asks itself, through this layer, for an equal request waits for itself.
//!
//! It is the key that says who is equal: no answer is shared across credentials that are in it. The exchange that the service
//! sees is the first one's. If that one leaves before the end, its [`UsageReport`](crate::usage::UsageReport) goes to one who
//! reads on, so that what a stream cost is counted once, and is not lost.
//!
//! # Where it belongs
//!
//! Put it inside of all that faces the client, cuts or watches, so that a replay is a response like any other, and outside of
//! what measures what the service costs ([`TeeLayer::usage`](crate::tee::TeeLayer::usage)), since a replay costs nothing.
//! In any other order it keeps the same answers, and a replay counts as if it had been paid for.

mod about;
mod body;
mod error;
mod flight;
mod future;
mod key;
mod policy;
mod recorded;
mod recorder;
mod request;
mod request_key;
mod stateless;
mod store;
#[cfg(test)]
mod tests;
mod vary;

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderName, Method, Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use self::flight::{Flights, Terms};
pub use self::{
    body::ReplayBody,
    error::{FellBehind, SharedFailure},
    future::ReplayFuture,
    key::{Key, MakeKey},
    recorded::Recorded,
    recorder::Recorder,
    request::ReplayRequest,
    request_key::RequestKey,
    store::{MemoryStore, ReplayStore},
};
use crate::{
    error::BoxError,
    exchange::Exchange,
    ready::{AlwaysReady, AlwaysReadyFuture},
    tee::Budget,
};

/// Where the answer of a request that has a key comes from: a fact in the [`Exchange`], there before the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Replayed {
    /// From the store.
    Hit,
    /// From the service, which an equal request had called and that was not done yet.
    Join,
    /// From the service.
    Miss,
}

impl Replayed {
    /// The stable name, for logs, metrics and headers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Join => "join",
            Self::Miss => "miss",
        }
    }
}

impl fmt::Display for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Serves recorded answers again to equal requests. See the [module](self) for what happens when.
#[must_use]
pub struct ReplayLayer<T, K> {
    shared: Arc<Shared<T, K>>,
}

struct Shared<T, K> {
    store: Arc<T>,
    key: K,
    request_limit: u64,
    requests: Option<Budget>,
    terms: Terms,
    kept: Vec<HeaderName>,
    paced: bool,
    /// Where equal requests are to share one call.
    flights: Option<Arc<Flights>>,
}

const MIB: usize = 1024 * 1024;

impl<T, K> ReplayLayer<T, K> {
    /// Keeps answers in `store`, each under the key of its request.
    pub fn new(store: T, key: K) -> Self {
        let (store, kept) = (Arc::new(store), policy::KEPT.into());
        let (request_limit, terms) = (MIB as u64, Terms { limit: MIB, budget: None });
        let (requests, flights) = (None, None);
        let paced = false;
        let shared = Shared { store, key, request_limit, requests, terms, kept, paced, flights };
        Self { shared: Arc::new(shared) }
    }
}

impl<T, K: Clone> ReplayLayer<T, K> {
    /// Reads request bodies of at most so many `bytes`, instead of 1 MiB. Larger ones are passed on as they come, and their
    /// answers are not kept.
    pub fn request_limit(self, bytes: u64) -> Self {
        self.with(|shared| shared.request_limit = bytes)
    }

    /// Takes the memory of request bodies that are read, and wait for their answer, from `budget`, besides the limit of each.
    /// One for which nothing is left is passed on as it comes, as one that is too large.
    pub fn requests_within(self, budget: &Budget) -> Self {
        self.with(|shared| shared.requests = Some(budget.clone()))
    }

    /// Keeps answers of at most so many `bytes`, instead of 1 MiB.
    pub fn answer_limit(self, bytes: usize) -> Self {
        self.with(|shared| shared.terms.limit = bytes)
    }

    /// Takes the memory of answers that are under way from `budget`, besides the limit of each. An answer for which nothing
    /// is left is not kept, and can not be joined.
    pub fn within(self, budget: &Budget) -> Self {
        self.with(|shared| shared.terms.budget = Some(budget.clone()))
    }

    /// Lets a request that comes while an equal one runs join it, instead of calling the service again. See
    /// [the module](self#requests-that-run-at-the-same-time).
    pub fn coalesce(self) -> Self {
        self.with(|shared| shared.flights = Some(Arc::default()))
    }

    /// Keeps this header of the answers, too. The others are `content-type`, `content-language`, `content-disposition`,
    /// `cache-control`, `vary`, `location`, `allow`, `retry-after`, `www-authenticate`, `trailer` and `x-accel-buffering`.
    pub fn keep_header(self, name: HeaderName) -> Self {
        self.with(|shared| shared.kept.push(name))
    }

    /// Replays each frame not before the time, from the head on, at which it came. Otherwise all come at once.
    pub fn paced(self) -> Self {
        self.with(|shared| shared.paced = true)
    }

    fn with(mut self, change: impl FnOnce(&mut Shared<T, K>)) -> Self {
        change(Arc::make_mut(&mut self.shared));
        self
    }
}

impl<T, K: Clone> Clone for Shared<T, K> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            key: self.key.clone(),
            request_limit: self.request_limit,
            requests: self.requests.clone(),
            terms: self.terms.clone(),
            kept: self.kept.clone(),
            paced: self.paced,
            flights: self.flights.clone(),
        }
    }
}

impl<T, K> Clone for ReplayLayer<T, K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<S, T, K> Layer<S> for ReplayLayer<T, K> {
    type Service = Replay<S, T, K>;

    fn layer(&self, inner: S) -> Self::Service {
        Replay { inner: AlwaysReady::new(inner), shared: self.shared.clone() }
    }
}

/// The service made by [`ReplayLayer`].
pub struct Replay<S, T, K> {
    inner: AlwaysReady<S>,
    shared: Arc<Shared<T, K>>,
}

impl<S: Clone, T, K> Clone for Replay<S, T, K> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: self.shared.clone() }
    }
}

impl<S, T, K, A, B> Service<Request<A>> for Replay<S, T, K>
where
    S: Service<Request<ReplayRequest<A>>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    A: Body<Data = Bytes, Error: Send> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    T: ReplayStore,
    K: MakeKey + Send + Sync + 'static,
{
    type Response = Response<ReplayBody<B, T>>;
    type Error = S::Error;
    type Future =
        ReplayFuture<AlwaysReady<S>, AlwaysReadyFuture<S, Request<ReplayRequest<A>>>, A, T, K>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let (exchange, shared) = (Exchange::of(&mut request), self.shared.clone());
        let (head, body) = request.into_parts();
        let may_have_key = shared.key.may_have_key(&head);
        let request = Request::from_parts(head, body);
        // A body without a bound may be one that waits for the answer.
        let upper = request.body().size_hint().upper();
        let upper = if request.body().is_end_stream() { Some(0) } else { upper };
        let bounded = upper.is_some_and(|upper| upper <= shared.request_limit);
        if !may_have_key || !bounded || request.method() == Method::CONNECT {
            let method = request.method().clone();
            let calling = self.inner.call(request.map(ReplayRequest::untouched));
            return ReplayFuture::pass(calling, method, shared, exchange);
        }
        // The one that was asked whether it is ready is the one to be called.
        let clone = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, clone);
        ReplayFuture::ask(inner, request, shared, exchange)
    }
}

impl<T, K> fmt::Debug for ReplayLayer<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayLayer").finish_non_exhaustive()
    }
}

impl<S: fmt::Debug, T, K> fmt::Debug for Replay<S, T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay").field("inner", self.inner.get_ref()).finish_non_exhaustive()
    }
}
