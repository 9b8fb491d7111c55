//! Law 7: readiness, the service's error, the request and the head pass through untouched; so does an upgraded connection.

use std::{
    collections::VecDeque,
    future::{Ready, ready},
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body;
use testkit::{Eos, Log, Script, ScriptError, Wakes, drain};
use tokio::time::advance;
use tower::{Layer, Service, ServiceExt, service_fn, util::BoxService};
use tower_lifeline::{
    exchange::{Exchange, Outcome},
    tee::{Limit, Recording, TeeRequestLayer},
    upload::UploadLayer,
};

use crate::{
    calling::{call, failing},
    probe::Probe,
    reading::{observe, poll, trailers},
    subjects::{Part, SSE, Upstream, all, isolated, layers},
};

/// Something that others have put into a request or a response.
#[derive(Clone, Debug, PartialEq)]
struct Mark(u32);

/// Is as ready as it was told.
struct Readiness(VecDeque<Poll<Result<(), ScriptError>>>);

impl Readiness {
    fn new() -> Self {
        let tired = Poll::Ready(Err(ScriptError::new("tired")));
        Self([Poll::Pending, Poll::Ready(Ok(())), Poll::Pending, tired].into())
    }
}

impl<B> Service<Request<B>> for Readiness {
    type Response = Response<Script>;
    type Error = ScriptError;
    type Future = Ready<Result<Response<Script>, ScriptError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ScriptError>> {
        self.0.pop_front().unwrap()
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        unreachable!()
    }
}

fn assert_ready_as_told<B, S: Service<Request<B>, Error = ScriptError>>(
    mut service: S,
    name: &str,
) {
    let mut poll = || service.poll_ready(&mut Context::from_waker(Waker::noop()));
    let polled = [poll(), poll(), poll(), poll()];
    let errors = polled.map(|polled| polled.map(|ready| ready.map_err(|error| error.to_string())));
    let told =
        [Poll::Pending, Poll::Ready(Ok(())), Poll::Pending, Poll::Ready(Err("tired".into()))];
    assert_eq!(errors, told, "{name}");
}

#[test]
fn readiness_is_the_services_own() {
    for subject in all().chain(isolated()) {
        let service = subject.around(BoxService::new(Readiness::new()), &Probe::new());
        assert_ready_as_told(service, &subject.to_string());
    }
    let layer = TeeRequestLayer::recording(Limit::first(1));
    assert_ready_as_told::<Script, _>(layer.layer(Readiness::new()), "TeeRequest");
    assert_ready_as_told::<Script, _>(UploadLayer::new().layer(Readiness::new()), "Upload");
}

// That it is of the same type is what `Boxed` says.
#[tokio::test]
async fn the_error_of_the_service_is_its_own() {
    for subject in layers().chain(isolated().filter(|subject| subject.sees_heads())) {
        let error = call(subject, &Probe::new(), failing("refused")).await.unwrap_err();
        let root = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(
            (error.to_string().as_str(), root.as_str()),
            ("refused", "root of refused"),
            "{subject}"
        );
    }
}

fn request(body: Script) -> Request<Script> {
    Request::builder()
        .method(Method::PATCH)
        .uri("https://example.test/a/b?c=d")
        .version(Version::HTTP_2)
        .header("x-twice", "1")
        .header("x-twice", "2")
        .header("te", "trailers")
        .extension(Mark(7))
        .body(body)
        .unwrap()
}

fn assert_untouched<A, B>(seen: &Request<A>, sent: &Request<B>, name: &str) {
    assert_eq!(seen.method(), sent.method(), "{name}");
    assert_eq!(seen.uri(), sent.uri(), "{name}");
    assert_eq!(seen.version(), sent.version(), "{name}");
    assert_eq!(seen.headers(), sent.headers(), "{name}");
    assert_eq!(seen.extensions().get::<Mark>(), sent.extensions().get::<Mark>(), "{name}");
}

#[tokio::test]
async fn the_request_reaches_the_service_untouched_but_for_the_exchange() {
    for subject in layers().chain(isolated().filter(|subject| subject.sees_heads())) {
        for known in [None, Some(Exchange::new())] {
            let seen = Arc::new(Mutex::new(None));
            let upstream: Upstream = BoxService::new(service_fn({
                let seen = seen.clone();
                move |request: Request<Script>| {
                    *seen.lock().unwrap() = Some(request);
                    ready(Ok(Response::new(Script::new())))
                }
            }));
            let log = Log::new();
            let mut request_sent = request(Script::new().data("up").log_into(&log));
            request_sent
                .extensions_mut()
                .extend(known.clone().map(with_exchange).unwrap_or_default());
            subject.around(upstream, &Probe::new()).call(request_sent).await.unwrap();

            let seen = seen.lock().unwrap().take().unwrap();
            assert_untouched(&seen, &request(Script::new()), &subject.to_string());
            assert_eq!(seen.extensions().len(), 2, "{subject}");
            let exchange = seen.extensions().get::<Exchange>().unwrap();
            assert!(known.is_none_or(|known| known.id() == exchange.id()), "{subject}");
            assert_eq!(log.story(), [], "{subject}: it was read, or dropped");
            assert_eq!(drain(seen.into_body()).await.data, "up", "{subject}");
        }
    }
}

fn with_exchange(exchange: Exchange) -> http::Extensions {
    let mut extensions = http::Extensions::new();
    extensions.insert(exchange);
    extensions
}

#[tokio::test]
async fn a_request_whose_body_is_captured_reaches_the_service_untouched() {
    let recording = Recording::new(Limit::first(100));
    let script = || Script::new().data("up").data("load").exact_size(6);
    let layer = TeeRequestLayer::new({
        let recording = recording.clone();
        move |_: &http::request::Parts| recording.sink()
    });
    let sent = request(script());
    let service = layer.layer(service_fn(async |seen: Request<_>| {
        assert_untouched(&seen, &request(Script::new()), "TeeRequest");
        let hints: &dyn Body<Data = Bytes, Error = ScriptError> = seen.body();
        assert_eq!(hints.size_hint().exact(), Some(6));
        assert_eq!(observe(seen.into_body()).await, observe(script()).await);
        Ok::<_, ScriptError>(Response::new(()))
    }));
    service.oneshot(sent).await.unwrap();
    assert_eq!(recording.to_bytes(), "upload");
    assert_eq!(recording.outcome(), Some(Outcome::Completed));
}

#[tokio::test]
async fn the_head_of_the_response_passes_untouched() {
    for subject in all().chain(isolated()) {
        let response = Response::builder()
            .status(StatusCode::IM_A_TEAPOT)
            .version(Version::HTTP_10)
            .header("content-type", SSE)
            .header("set-cookie", "a=1")
            .header("set-cookie", "b=2")
            .extension(Mark(8));
        let (sent, body) = response.body(Script::new()).unwrap().into_parts();
        let response = Response::from_parts(sent.clone(), body);
        let seen = subject.respond(&Probe::new(), Request::new(Script::new()), response).await;
        assert_eq!(seen.status(), sent.status, "{subject}");
        assert_eq!(seen.version(), sent.version, "{subject}");
        assert_eq!(seen.headers(), &sent.headers, "{subject}");
        assert_eq!(seen.extensions().len(), 1, "{subject}");
        assert_eq!(seen.extensions().get(), Some(&Mark(8)), "{subject}");
    }
}

fn upgrades() -> impl Iterator<Item = (&'static str, u16)> {
    [("GET", 101), ("CONNECT", 200), ("CONNECT", 204)].into_iter()
}

fn upgrade(method: &str, status: u16, body: Script) -> (Request<Script>, Response<Script>) {
    let request = Request::builder().method(method).body(Script::new()).unwrap();
    let response =
        Response::builder().status(status).header("content-type", SSE).extension(Mark(9));
    (request, response.body(body).unwrap())
}

// faults.md 49.
#[tokio::test(start_paused = true)]
async fn the_body_of_an_upgrade_is_not_touched_and_gets_no_heartbeat() {
    let script = || {
        let script = Script::new().data("data: half").sleep(Duration::from_secs(3600));
        script.data(" an event").trailers(trailers()).eos(Eos::Never)
    };
    for subject in layers().chain(isolated().filter(|subject| subject.sees_heads())) {
        for (method, status) in upgrades() {
            let (request, response) = upgrade(method, status, script());
            let seen = subject.respond(&Probe::new(), request, response).await;
            assert_eq!(seen.extensions().get(), Some(&Mark(9)), "{subject}");
            assert_eq!(observe(seen.into_body()).await, observe(script()).await, "{subject}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_is_out_of_reach_of_the_handle() {
    for subject in layers().filter(|subject| subject.has(Part::Abort)) {
        for (method, status) in upgrades() {
            let probe = Probe::new();
            let (request, response) = upgrade(method, status, Script::new().data("a").stall());
            let mut body = subject.respond(&probe, request, response).await.into_body();
            assert!(!probe.handle.abort("too late"), "{subject}");
            advance(Duration::from_secs(1)).await;
            assert!(poll(&mut body, &Wakes::new()).is_some(), "{subject}");
            assert_eq!(probe.log.dropped_at(), None, "{subject}");
            probe.assert_ended(subject, Outcome::Completed);
        }
    }
}
