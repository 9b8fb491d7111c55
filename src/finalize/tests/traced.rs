//! The ready-made hook, seen by a subscriber.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use http_body_util::BodyExt;
use testkit::drain;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

use super::*;
use crate::exchange::{Cause, Exchange};
use crate::finalize::Traced;
use crate::timeouts::{Limit, tests::hit};

/// Keeps the events of one thread.
#[derive(Clone, Default)]
struct Capture(Arc<Mutex<Vec<(Level, Fields)>>>);

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        assert!(self.0.insert(field.name(), format!("{value:?}")).is_none());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name(), format!("{value} as a number"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl Subscriber for Capture {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "tower_lifeline::finalize"
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.0.lock().unwrap().push((*event.metadata().level(), fields));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

impl Capture {
    /// The one event that was captured: its level and its fields, sorted.
    fn only(&self) -> (Level, Vec<String>) {
        let mut events = self.0.lock().unwrap();
        let (level, fields) = events.pop().expect("no event was written");
        assert!(events.is_empty(), "one event for each exchange");
        (level, fields.0.iter().map(|(name, value)| format!("{name} {value}")).collect())
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_exchange_is_a_warning_with_every_field_that_is_known() {
    let capture = Capture::default();
    let _guard = tracing::subscriber::set_default(capture.clone());
    let second = Duration::from_secs(1);
    let service = FinalizeLayer::traced().layer(service_fn(|request: Request<()>| async move {
        let exchange = Exchange::get(request.extensions()).unwrap();
        let error = Some(crate::error::ErrorChain::of(&ScriptError::new("boom")));
        exchange.record(Cause::Failed { reason: Some("dns".into()), error });
        tokio::time::sleep(second).await;
        let script = Script::new().sleep(second).data("abc").sleep(3 * second);
        let response = Response::builder().status(206).header("grpc-status", "14");
        Ok::<_, ScriptError>(response.body(script.error("boom")).unwrap())
    }));
    let mut request = Request::post("/v1/chat?key=secret").body(()).unwrap();
    let id = Exchange::of(&mut request).id();
    let body = service.oneshot(request).await.unwrap_or_else(|error| panic!("{error}")).into_body();
    drain(body).await;
    let (level, fields) = capture.only();
    assert_eq!(level, Level::WARN);
    let expect = [
        "bytes 3 as a number",
        "elapsed_ms 5000 as a number",
        "error boom: root of boom",
        &format!("exchange {id}"),
        "first_frame_ms 2000 as a number",
        "frames 1 as a number",
        "grpc_status 14 as a number",
        "head_ms 1000 as a number",
        "idle_ms 3000 as a number",
        "message exchange ended",
        "method POST",
        "outcome failed",
        "path /v1/chat", // Never the query.
        "reason dns",
        "status 206 as a number",
    ];
    assert_eq!(fields, expect);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_known_is_left_out() {
    let capture = Capture::default();
    let _guard = tracing::subscriber::set_default(capture.clone());
    let service = FinalizeLayer::traced().layer(service_fn(|_: Request<()>| async {
        std::future::pending::<()>().await;
        Ok::<_, ScriptError>(Response::new(Script::new()))
    }));
    let mut request = get();
    let id = Exchange::of(&mut request).id();
    let waited = tokio::time::timeout(Duration::from_millis(7), service.oneshot(request)).await;
    assert!(waited.is_err());
    let (level, fields) = capture.only();
    assert_eq!(level, Level::INFO);
    let expect = [
        "bytes 0 as a number",
        "elapsed_ms 7 as a number",
        &format!("exchange {id}"),
        "frames 0 as a number",
        "message exchange ended",
        "method GET",
        "outcome disconnected",
        "path /",
    ];
    assert_eq!(fields, expect);
}

#[tokio::test]
async fn the_headers_that_were_asked_for_are_one_field_in_the_order_of_the_asking() {
    let capture = Capture::default();
    let _guard = tracing::subscriber::set_default(capture.clone());
    let names = ["x-request-id", "cf-ray", "via"].map(http::HeaderName::from_static);
    let layer = FinalizeLayer::with(move |request| Traced::new(request).headers(names.clone()));
    let unlike = |head: &str| {
        let (_, fields) = capture.only();
        assert!(!fields.iter().any(|field| field.starts_with("headers ")), "{head}: {fields:?}");
    };
    let response = Response::builder()
        .header("via", "a")
        .header("cf-ray", "8f1-FRA")
        .header("set-cookie", "secret=1")
        .header("via", http::HeaderValue::from_bytes(b"b\xff").unwrap());
    let mut body = through(&layer, get(), response.body(Script::new()).unwrap()).await;
    assert!(body.frame().await.is_none());
    let (_, fields) = capture.only();
    let expect = "headers cf-ray=8f1-FRA; via=a; via=b\u{fffd}".to_owned();
    assert!(fields.contains(&expect), "{fields:?}");

    let mut body = through(&layer, get(), Response::new(Script::new())).await;
    assert!(body.frame().await.is_none());
    unlike("it has none of them");
    let response = Response::builder().header("via", "a").body(Script::new()).unwrap();
    let mut body = through(&FinalizeLayer::traced(), get(), response).await;
    assert!(body.frame().await.is_none());
    unlike("none was asked for");
}

#[tokio::test]
async fn of_each_text_that_others_chose_there_are_1024_characters_at_most() {
    let capture = Capture::default();
    let _guard = tracing::subscriber::set_default(capture.clone());
    let (long, cut) = ("é".repeat(30_000), "é".repeat(1024));
    let names = ["server", "via"].map(http::HeaderName::from_static);
    let layer = FinalizeLayer::with(move |request| Traced::new(request).headers(names.clone()));
    let request = Request::builder()
        .method(&*"M".repeat(60_000))
        .uri(format!("/{}", "p".repeat(60_000)))
        .body(())
        .unwrap();
    let response = Response::builder().header("server", long.as_bytes()).header("via", "a");
    let body = Script::new().error(&long);
    let mut body = through(&layer, request, response.body(body).unwrap()).await;
    assert!(body.frame().await.unwrap().is_err());
    drop(body);
    let (_, fields) = capture.only();
    for expect in [
        format!("method {}", "M".repeat(1024)),
        format!("path /{}", "p".repeat(1023)),
        format!("error {cut}"),
        format!("headers server={}", "é".repeat(1024 - "server=".len())),
    ] {
        assert!(fields.contains(&expect), "{expect}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_read_after_the_client_left_is_told_with_how_that_ended() {
    use crate::detach::{DetachLayer, DrainLimits};
    let capture = Capture::default();
    let _guard = tracing::subscriber::set_default(capture.clone());
    let layer = (DetachLayer::new(DrainLimits::new()), FinalizeLayer::traced());
    let service = layer.layer(service_fn(|_: Request<()>| async {
        let script = Script::new().data("read").sleep(Duration::from_secs(1)).data("drained");
        Ok::<_, ScriptError>(Response::new(script))
    }));
    let mut body =
        service.oneshot(get()).await.unwrap_or_else(|error| panic!("{error}")).into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (level, fields) = capture.only();
    assert_eq!(level, Level::INFO);
    for expect in ["bytes 4 as a number", "drained_bytes 7 as a number", "drain_end completed"] {
        assert!(fields.contains(&expect.to_owned()), "{fields:?}");
    }
}

#[tokio::test]
async fn the_level_says_whether_something_went_wrong() {
    let capture = Capture::default();
    let _guard = tracing::subscriber::set_default(capture.clone());
    let expect = [
        (Cause::Completed, Level::INFO),
        (Cause::Disconnected, Level::INFO),
        (Cause::Aborted("stop".into()), Level::INFO),
        (Cause::Discarded, Level::INFO),
        (Cause::Failed { reason: None, error: None }, Level::WARN),
        (Cause::Truncated, Level::WARN),
        (hit(Limit::Idle), Level::WARN),
        (Cause::Panicked("boom".into()), Level::WARN),
    ];
    for (cause, expect) in expect {
        let mut request = get();
        Exchange::of(&mut request).record(cause.clone());
        let mut body =
            through(&FinalizeLayer::traced(), request, Response::new(Script::new())).await;
        assert!(body.frame().await.is_none());
        let (level, fields) = capture.only();
        assert_eq!(level, expect, "{cause:?}");
        assert!(fields.contains(&format!("outcome {}", cause.outcome())), "{fields:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_error_is_told_without_the_query_and_the_user_of_any_url() {
    for (said, told) in [
        (
            "boom at https://10.0.0.7:8443/v1/chat?key=secret",
            "boom at https://10.0.0.7:8443/v1/chat",
        ),
        ("url (https://host/v1?key=se)cret&b=1): refused", "url (https://host/v1): refused"),
        ("two: http://a/?x=1, http://b/?y=2.", "two: http://a/, http://b/."),
        (
            "GET /v1beta/models/x:generate?key=secret\nfailed",
            "GET /v1beta/models/x:generate\nfailed",
        ),
        ("redis://user:secret@host:6379/0 is away", "redis://host:6379/0 is away"),
        ("is it? yes: a/b", "is it? yes: a/b"),
        ("no route to host:443?key=secret.", "no route to host:443."),
        ("sent to host?key=secret", "sent to host"),
        ("http://a/x,http://me:secret@b/y", "http://a/x,http://b/y"),
        ("<http://a/?key=secret>;<http://me:secret@b/?key=secret>", "<http://a/>"),
    ] {
        let capture = Capture::default();
        let _guard = tracing::subscriber::set_default(capture.clone());
        let service = FinalizeLayer::traced().layer(service_fn(|_: Request<()>| async move {
            Err::<Response<Script>, _>(std::io::Error::other(said))
        }));
        service.oneshot(Request::new(())).await.unwrap_err();
        let (_, fields) = capture.only();
        assert!(fields.contains(&format!("error {told}")), "{fields:?}");
    }
}
