//! The table of what must obey the laws: each layer, each body without its layer, and the whole stack.

use std::{
    fmt,
    future::ready,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, header, request::Parts};
use http_body::Body;
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use testkit::{Script, ScriptError};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn, util::BoxService};
use tower_lifeline::{
    Media,
    abort::{AbortBody, AbortLayer},
    coalesce::{CoalesceBody, CoalesceLayer},
    detach::{DetachBody, DetachLayer, DrainLimits},
    early_head::EarlyHeadLayer,
    error::BoxError,
    final_frame::{Final, FinalFrameBody, FinalFrameLayer},
    finalize::{FinalizeBody, FinalizeLayer},
    first_frame::{Begin, FirstFrameLayer},
    isolate::{IsolateBody, IsolateLayer},
    keepalive::{Heartbeat, IdleKeepaliveBody, IdleKeepaliveLayer},
    tee::{TeeBody, TeeLayer, TeeRequestLayer},
    timeouts::{Activity, Limits, TimeoutsBody, TimeoutsLayer},
    upload::UploadLayer,
};

#[cfg(feature = "replay")]
use tower_lifeline::replay::{MemoryStore, ReplayLayer, ReplayRequest, RequestKey};
#[cfg(feature = "replay")]
use tower_lifeline::usage::IncludeUsageLayer;

use crate::probe::{CountingSink, Probe};

/// What comes out of every subject.
pub(crate) type Outer = UnsyncBoxBody<Bytes, BoxError>;
/// A subject around its upstream. That the error type is still the upstream's is part of law 7.
pub(crate) type Boxed = BoxService<Request<Script>, Response<Outer>, ScriptError>;
pub(crate) type Call = <Boxed as Service<Request<Script>>>::Future;

pub(crate) const INTERVAL: Duration = Duration::from_secs(15);

/// How long a body is read on whose reader has left.
pub(crate) const DRAIN: Duration = Duration::from_secs(60);

/// How many bytes are gathered from frames that wait.
const GATHERED: usize = 32;

/// The name of the one that reads for several readers.
const SHARED: &str = "ReplayLayer, coalescing";

/// The name of the one whose upstream's body is sent through it, and comes back.
const ECHOING: &str = "TeeRequestLayer";

const AGES: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Tee,
    Finalize,
    Abort,
    Timeouts,
    IdleKeepalive,
    FinalFrame,
    Detach,
    EarlyHead,
    FirstFrame,
    Isolate,
    Coalesce,
    #[cfg(feature = "replay")]
    Replay,
    IncludeUsage,
    Upload,
}

/// All of them, and none that is ever hit: what they do is for their own tests.
fn limits() -> Limits {
    Limits::new().upload(AGES).head(AGES).first_frame(AGES).idle(AGES).total(AGES).unread(AGES)
}

type ChooseDrain = fn(&Parts) -> fn(&http::response::Parts) -> bool;
type ChooseEarly = fn(&Parts) -> fn() -> bool;

/// Reads on for this long.
fn drains() -> DetachLayer<ChooseDrain> {
    DetachLayer::new(DrainLimits::new().time(DRAIN))
}

/// Would send every head early, and never comes to it.
fn early() -> EarlyHeadLayer<ChooseEarly> {
    let always: fn(&Parts) -> fn() -> bool = |_| || true;
    EarlyHeadLayer::new(AGES).when(always)
}

pub(crate) struct Subject {
    name: &'static str,
    /// Outermost first.
    parts: &'static [Part],
    /// It sees the request and the head, not only the body.
    layers: bool,
    build: fn(Upstream, &Probe) -> Boxed,
}

/// In the documented order, outermost first.
pub(crate) const STACK: Subject = Subject::layer(
    "IdleKeepalive > FinalFrame > Timeouts > Detach > EarlyHead > Abort > Timeouts > Finalize > Tee",
    &[
        Part::IdleKeepalive,
        Part::FinalFrame,
        Part::Timeouts,
        Part::Detach,
        Part::EarlyHead,
        Part::Abort,
        Part::Timeouts,
        Part::Finalize,
        Part::Tee,
    ],
    |upstream, probe| {
        let (reporter, recorder) = (probe.clone(), probe.clone());
        let handle = probe.handle.clone();
        boxed(
            ServiceBuilder::new()
                .layer(IdleKeepaliveLayer::new(INTERVAL))
                .layer(FinalFrameLayer::by_media())
                .layer(TimeoutsLayer::new(Limits::new().unread(AGES)))
                .layer(drains())
                .layer(early())
                .layer(AbortLayer::new(move |_| handle.clone()))
                .layer(TimeoutsLayer::new(limits()))
                .layer(FinalizeLayer::new(move |_| reporter.hook()))
                .layer(TeeLayer::new(move |_| recorder.sink()))
                .service(upstream),
        )
    },
);

/// The other way round, in which the reporters see the whole.
pub(crate) const REVERSE: Subject = Subject::layer(
    "Tee > Finalize > Timeouts > Abort > FinalFrame > IdleKeepalive",
    &[
        Part::Tee,
        Part::Finalize,
        Part::Timeouts,
        Part::Abort,
        Part::FinalFrame,
        Part::IdleKeepalive,
    ],
    |upstream, probe| {
        let (reporter, recorder) = (probe.clone(), probe.clone());
        let handle = probe.handle.clone();
        boxed(
            ServiceBuilder::new()
                .layer(TeeLayer::new(move |_| recorder.sink()))
                .layer(FinalizeLayer::new(move |_| reporter.hook()))
                .layer(TimeoutsLayer::new(limits()))
                .layer(AbortLayer::new(move |_| handle.clone()))
                .layer(FinalFrameLayer::by_media())
                .layer(IdleKeepaliveLayer::new(INTERVAL))
                .service(upstream),
        )
    },
);

static ALL: &[Subject] = &[
    Subject::layer("TeeLayer", &[Part::Tee], |upstream, probe| {
        let probe = probe.clone();
        boxed(TeeLayer::new(move |_: &Parts| probe.sink()).layer(upstream))
    }),
    Subject::layer("FinalizeLayer", &[Part::Finalize], |upstream, probe| {
        let probe = probe.clone();
        boxed(FinalizeLayer::new(move |_: &Parts| probe.hook()).layer(upstream))
    }),
    Subject::layer("AbortLayer", &[Part::Abort], |upstream, probe| {
        let handle = probe.handle.clone();
        boxed(AbortLayer::new(move |_: &Parts| handle.clone()).layer(upstream))
    }),
    Subject::layer("TimeoutsLayer", &[Part::Timeouts], |upstream, _| {
        boxed(TimeoutsLayer::new(limits()).layer(upstream))
    }),
    Subject::layer("IdleKeepaliveLayer", &[Part::IdleKeepalive], |upstream, _| {
        boxed(IdleKeepaliveLayer::new(INTERVAL).layer(upstream))
    }),
    Subject::layer("FinalFrameLayer", &[Part::FinalFrame], |upstream, _| {
        boxed(FinalFrameLayer::by_media().layer(upstream))
    }),
    Subject::layer("DetachLayer", &[Part::Detach], |upstream, _| boxed(drains().layer(upstream))),
    Subject::layer("EarlyHeadLayer", &[Part::EarlyHead], |upstream, _| {
        boxed(early().layer(upstream))
    }),
    Subject::layer("FirstFrameLayer", &[Part::FirstFrame], |upstream, _| {
        boxed(FirstFrameLayer::new(|_| Begin::any_byte()).layer(upstream))
    }),
    Subject::layer("CoalesceLayer", &[Part::Coalesce], |upstream, _| {
        boxed(CoalesceLayer::new(GATHERED).layer(upstream))
    }),
    STACK,
    REVERSE,
    Subject::without_layer("TeeBody", &[Part::Tee], |upstream, probe| {
        let probe = probe.clone();
        wrapped(upstream, move |body, _| TeeBody::new(body, probe.sink()))
    }),
    Subject::without_layer("FinalizeBody", &[Part::Finalize], |upstream, probe| {
        let probe = probe.clone();
        wrapped(upstream, move |body, _| FinalizeBody::new(body, probe.hook()))
    }),
    Subject::without_layer("AbortBody", &[Part::Abort], |upstream, probe| {
        let handle = probe.handle.clone();
        wrapped(upstream, move |body, _| AbortBody::new(body, &handle))
    }),
    Subject::without_layer("TimeoutsBody", &[Part::Timeouts], |upstream, _| {
        wrapped(upstream, |body, media| {
            let events = media == Media::EventStream;
            let activity = if events { Activity::events() } else { Activity::any_byte() };
            TimeoutsBody::new(body, &limits(), activity)
        })
    }),
    Subject::without_layer("IdleKeepaliveBody", &[Part::IdleKeepalive], |upstream, _| {
        let heartbeat = |media| match media {
            Media::EventStream => Heartbeat::comment(),
            Media::Ndjson => Heartbeat::space(),
            _ => Heartbeat::none(),
        };
        wrapped(upstream, move |body, media| {
            IdleKeepaliveBody::new(body, INTERVAL, heartbeat(media))
        })
    }),
    Subject::without_layer("FinalFrameBody", &[Part::FinalFrame], |upstream, _| {
        wrapped(upstream, |body, media| FinalFrameBody::new(body, media, Final::by_media))
    }),
    Subject::without_layer("DetachBody", &[Part::Detach], |upstream, _| {
        wrapped(upstream, |body, _| DetachBody::new(body, &drains()))
    }),
    Subject::without_layer("CoalesceBody", &[Part::Coalesce], |upstream, _| {
        wrapped(upstream, |body, _| CoalesceBody::new(body, GATHERED))
    }),
    // Its service gets a request body of another type, so what becomes of the request is for its own tests.
    #[cfg(feature = "replay")]
    Subject::without_layer("ReplayLayer", &[Part::Replay], |upstream, _| {
        let store = MemoryStore::new(1 << 20, AGES);
        let layer = ReplayLayer::new(store, any_get()).answer_limit(256);
        boxed(layer.layer(upstream.map_request(without_body)))
    }),
    // Alone in a call that others could join.
    #[cfg(feature = "replay")]
    Subject::without_layer(SHARED, &[Part::Replay], |upstream, _| {
        let store = MemoryStore::new(1 << 20, AGES);
        let layer = ReplayLayer::new(store, any_get()).answer_limit(256).coalesce();
        boxed(layer.layer(upstream.map_request(without_body)))
    }),
    // The same. Whatever is asked for, it asks for the usage, and so looks through every event stream.
    #[cfg(feature = "replay")]
    Subject::without_layer("IncludeUsageLayer", &[Part::IncludeUsage], |upstream, _| {
        let layer = IncludeUsageLayer::new().layer(upstream.map_request(without_body));
        boxed(layer.map_request(|_| {
            let question = Script::new().data("{\"stream\":true}");
            Request::post("/v1/chat/completions").body(question).unwrap()
        }))
    }),
    // Its upstream's body is sent through it as a request body, and comes back.
    Subject::without_layer(ECHOING, &[Part::Tee], |upstream, probe| {
        let probe = probe.clone();
        boxed(upstream.and_then(move |response: Response<Script>| {
            let echo = service_fn(|request: Request<TeeBody<Script, CountingSink>>| {
                ready(Ok(Response::new(request.into_body())))
            });
            let probe = probe.clone();
            let tee = TeeRequestLayer::new(move |_: &Parts| probe.sink()).layer(echo);
            let (head, body) = response.into_parts();
            async {
                Ok(Response::from_parts(head, tee.oneshot(Request::new(body)).await?.into_body()))
            }
        }))
    }),
    // The same.
    Subject::without_layer("UploadLayer", &[Part::Upload], |upstream, _| {
        boxed(upstream.and_then(move |response: Response<Script>| {
            let upload = UploadLayer::new().layer(service_fn(|request: Request<_>| {
                ready(Ok(Response::new(request.into_body())))
            }));
            let (head, body) = response.into_parts();
            async {
                Ok(Response::from_parts(
                    head,
                    upload.oneshot(Request::new(body)).await?.into_body(),
                ))
            }
        }))
    }),
];

static ISOLATED: [Subject; 2] = [
    Subject::layer("IsolateLayer", &[Part::Isolate], |upstream, _| {
        boxed(IsolateLayer::new(1).layer(upstream))
    }),
    Subject::without_layer("IsolateBody", &[Part::Isolate], |upstream, _| {
        wrapped(upstream, |body, _| IsolateBody::new(body, 1))
    }),
];

/// What reads on a thread of its own. It is no part of [`all`]: a paused clock stands still while such a thread is in use,
/// and when that reads, and how far ahead, is no law's matter.
pub(crate) fn isolated() -> impl Iterator<Item = &'static Subject> {
    ISOLATED.iter()
}

/// Every subject.
pub(crate) fn all() -> impl Iterator<Item = &'static Subject> {
    ALL.iter()
}

/// Every subject that sees heads, and so all that there is to see.
pub(crate) fn layers() -> impl Iterator<Item = &'static Subject> {
    all().filter(|subject| subject.sees_heads())
}

impl Subject {
    pub(crate) const fn layer(
        name: &'static str,
        parts: &'static [Part],
        build: fn(Upstream, &Probe) -> Boxed,
    ) -> Self {
        Self { name, parts, layers: true, build }
    }

    const fn without_layer(
        name: &'static str,
        parts: &'static [Part],
        build: fn(Upstream, &Probe) -> Boxed,
    ) -> Self {
        Self { name, parts, layers: false, build }
    }

    pub(crate) fn has(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }

    /// Whether both are there, this one around the other.
    pub(crate) fn has_around(&self, outer: Part, inner: Part) -> bool {
        let at = |part| self.parts.iter().position(|known| *known == part);
        at(outer).zip(at(inner)).is_some_and(|(outer, inner)| outer < inner)
    }

    pub(crate) fn is_outermost(&self, part: Part) -> bool {
        self.parts.first() == Some(&part)
    }

    /// How many of its parts report the end.
    pub(crate) fn reporters(&self) -> usize {
        [Part::Finalize, Part::Tee].into_iter().filter(|part| self.has(*part)).count()
    }

    pub(crate) fn sees_heads(&self) -> bool {
        self.layers
    }

    /// Is a layer around its upstream, and not a body in it.
    pub(crate) fn wraps_its_upstream(&self) -> bool {
        !self.name.ends_with("Body") && ![ECHOING, "UploadLayer"].contains(&self.name)
    }

    /// Hands every frame on as it is, and knows nothing of events.
    pub(crate) fn keeps_frames(&self) -> bool {
        let shapers = [Part::IdleKeepalive, Part::FinalFrame, Part::IncludeUsage, Part::Coalesce];
        !shapers.iter().any(|part| self.has(*part))
    }

    /// Stands aside where the size is known. IncludeUsage takes it away: what it takes out is there because it asked.
    pub(crate) fn keeps_sizes(&self) -> bool {
        !self.has(Part::IncludeUsage)
    }

    /// Makes one frame of several that wait: the bytes are the same, their boundaries are not.
    pub(crate) fn gathers(&self) -> bool {
        self.has(Part::Coalesce)
    }

    /// Reads no frame before its reader asks for one. FirstFrame does: it must, to know whether there is any.
    pub(crate) fn reads_on_demand(&self) -> bool {
        !self.has(Part::FirstFrame)
    }

    /// Reads for several readers: what it says of the end is what was so at the last frame.
    pub(crate) fn shares(&self) -> bool {
        self.name == SHARED
    }

    /// Drops the inner body with its reader. Detach does not: to read on is what it is for.
    pub(crate) fn releases_at_once(&self) -> bool {
        !self.has(Part::Detach)
    }

    /// Has a part that looks after a panic of its inner body. The others hand it on and say nothing of what follows.
    pub(crate) fn minds_panics(&self) -> bool {
        let mindless = [Part::IdleKeepalive, Part::EarlyHead, Part::FirstFrame, Part::IncludeUsage];
        self.parts.iter().any(|part| !mindless.contains(part))
    }

    pub(crate) fn around(&self, upstream: Upstream, probe: &Probe) -> Boxed {
        (self.build)(upstream, probe)
    }

    /// Sends one request, whose response is this. Its body writes into the probe's log.
    pub(crate) async fn respond(
        &self,
        probe: &Probe,
        request: Request<Script>,
        response: Response<Script>,
    ) -> Response<Outer> {
        let upstream = answering(response.map(|script| script.log_into(&probe.log)));
        self.around(upstream, probe).call(request).await.unwrap()
    }

    /// The body of a response to a GET.
    pub(crate) async fn body(&self, probe: &Probe, response: Response<Script>) -> Outer {
        self.respond(probe, Request::new(Script::new()), response).await.into_body()
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

pub(crate) fn boxed<S, B>(service: S) -> Boxed
where
    S: Service<Request<Script>, Response = Response<B>, Error = ScriptError> + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let outer =
        |response: Response<B>| response.map(|body| body.map_err(Into::into).boxed_unsync());
    BoxService::new(service.map_response(outer))
}

/// A key for whatever is asked with a GET.
#[cfg(feature = "replay")]
fn any_get() -> RequestKey {
    RequestKey::new().also(http::Method::GET, "/")
}

type BoxUpstream = BoxService<Request<Script>, Response<Script>, ScriptError>;

/// What every subject is built around. Clones are the same service, and are counted.
pub(crate) struct Upstream {
    service: Arc<Mutex<BoxUpstream>>,
    clones: Arc<AtomicUsize>,
}

impl Upstream {
    pub(crate) fn new<S>(service: S) -> Self
    where
        S: Service<Request<Script>, Response = Response<Script>, Error = ScriptError>,
        S: Send + 'static,
        S::Future: Send + 'static,
    {
        let service = Arc::new(Mutex::new(BoxService::new(service)));
        Self { service, clones: Arc::default() }
    }

    pub(crate) fn clones(&self) -> usize {
        self.clones.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, BoxUpstream> {
        self.service.lock().unwrap_or_else(PoisonError::into_inner) // It may have panicked, as it was told.
    }
}

impl Clone for Upstream {
    fn clone(&self) -> Self {
        self.clones.fetch_add(1, Ordering::SeqCst);
        Self { service: self.service.clone(), clones: self.clones.clone() }
    }
}

impl Service<Request<Script>> for Upstream {
    type Response = Response<Script>;
    type Error = ScriptError;
    type Future = <BoxUpstream as Service<Request<Script>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ScriptError>> {
        self.lock().poll_ready(cx)
    }

    fn call(&mut self, request: Request<Script>) -> Self::Future {
        self.lock().call(request)
    }
}

/// What becomes of a request whose body is for nobody to see.
#[cfg(feature = "replay")]
fn without_body(request: Request<ReplayRequest<Script>>) -> Request<Script> {
    request.map(|_| Script::new())
}

/// A body that is used without its layer.
fn wrapped<B>(
    upstream: Upstream,
    wrap: impl Fn(Script, Media) -> B + Clone + Send + 'static,
) -> Boxed
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    boxed(upstream.map_response(move |response: Response<Script>| {
        let media = Media::of(response.headers());
        response.map(|body| wrap(body, media))
    }))
}

/// Answers the first request with this.
pub(crate) fn answering(response: Response<Script>) -> Upstream {
    let response = Mutex::new(Some(response));
    Upstream::new(service_fn(move |_| ready(Ok(response.lock().unwrap().take().unwrap()))))
}

pub(crate) const SSE: &str = "text/event-stream";
pub(crate) const PLAIN: &str = "application/octet-stream";

/// A response with this content type.
pub(crate) fn reply(media: &str, script: Script) -> Response<Script> {
    Response::builder().header(header::CONTENT_TYPE, media).body(script).unwrap()
}
