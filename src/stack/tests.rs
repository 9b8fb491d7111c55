//! The preset: what it is made of, and how it stops.

use std::{
    convert::Infallible,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use testkit::{Script, ScriptError, drain};
use tokio::{
    io::AsyncWriteExt,
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::{Instant, sleep, timeout},
};
use tower::{Layer, ServiceExt, service_fn};

use crate::{
    Lifeline,
    detach::DrainLimits,
    error::BoxError,
    exchange::DrainEnd,
    finalize::{Ending, FinalizeLayer},
    tee::{Limit, Recording},
    timeouts::{Limits, TimeoutsLayer},
};

const SECOND: Duration = Duration::from_secs(1);

type Reading = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// Sends a request for a stream through the preset. The head comes after `delay`; `None`: never.
async fn through(
    lifeline: &Lifeline,
    script: Script,
    delay: Option<Duration>,
) -> (Response<Reading>, UnboundedReceiver<Ending>) {
    let (tell, told) = unbounded_channel();
    let layer = lifeline.layer(FinalizeLayer::new(move |_| {
        let tell = tell.clone();
        move |ending| drop(tell.send(ending))
    }));
    let script = std::sync::Mutex::new(Some(script));
    let service = layer.layer(service_fn(move |_: Request<()>| {
        let script = script.lock().unwrap().take().unwrap();
        async move {
            match delay {
                Some(delay) => sleep(delay).await,
                None => pending().await,
            }
            let response = Response::builder().header("content-type", "text/event-stream");
            Ok::<_, ScriptError>(response.body(script).unwrap())
        }
    }));
    let request = Request::builder().header("accept", "text/event-stream").body(()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    (response.map(|body| body.map_err(Into::into).boxed_unsync()), told)
}

async fn text(body: impl Body<Data = Bytes>) -> String {
    String::from_utf8(drain(body).await.data.to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn with_nothing_said_a_silent_stream_gets_heartbeats_then_a_timeout_told_in_band() {
    let script = Script::new().data("data: 1\n\n").stall();
    let (response, mut told) = through(&Lifeline::new(), script, Some(SECOND)).await;
    let seen = text(response.into_body()).await;
    // The fortieth would be due together with the limit, which comes first: it is further in.
    let (beats, last) = seen.split_once("event: error\n").unwrap();
    assert_eq!(beats, format!("data: 1\n\n{}", ": keep-alive\n".repeat(39)));
    assert!(last.contains(r#""type":"timeout""#) && last.contains(r#""code":"idle""#), "{last}");
    let ending = told.recv().await.unwrap();
    assert_eq!((ending.outcome.as_str(), ending.reason()), ("timed_out", Some("idle")));
    assert_eq!(ending.exchange.fact::<Recording>().unwrap().to_bytes(), "data: 1\n\n");
    assert!(ending.drained.is_none());
}

#[tokio::test(start_paused = true)]
async fn with_nothing_said_a_head_that_does_not_come_is_504() {
    let start = Instant::now();
    let (response, mut told) = through(&Lifeline::new(), Script::new(), None).await;
    assert_eq!((response.status().as_u16(), start.elapsed()), (504, 20 * 60 * SECOND));
    assert_eq!(told.recv().await.unwrap().reason(), Some("head"));
}

#[tokio::test(start_paused = true)]
async fn every_setting_reaches_its_layer() {
    let lifeline = Lifeline::new()
        .keepalive(2 * SECOND)
        .early_head(SECOND)
        .timeouts(TimeoutsLayer::new(Limits::new().idle(5 * SECOND)))
        .capture(Limit::first(4));
    let script = Script::new().data("data: 1\n\n").stall();
    let (response, mut told) = through(&lifeline, script, Some(4 * SECOND)).await;
    let seen = text(response.into_body()).await;
    // The head after one second; heartbeats at 3 s, 6 s and 8 s, the event at 4 s; the limit at 9 s.
    assert!(
        seen.starts_with(": keep-alive\ndata: 1\n\n: keep-alive\n: keep-alive\nevent: error\n"),
        "{seen}"
    );
    let ending = told.recv().await.unwrap();
    assert_eq!((ending.reason(), ending.elapsed), (Some("idle"), 9 * SECOND));
    assert_eq!(ending.exchange.fact::<Recording>().unwrap().to_bytes(), "data");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_left_is_read_on_only_where_that_was_asked_for() {
    for limits in [None, Some(DrainLimits::new())] {
        let mut lifeline = Lifeline::new();
        if let Some(limits) = limits {
            lifeline = lifeline.drain(limits);
        }
        let script = Script::new().data("data: 1\n\n").sleep(SECOND).data("data: 2\n\n");
        let (response, mut told) = through(&lifeline, script, Some(SECOND)).await;
        let mut body = response.into_body();
        body.frame().await.unwrap().unwrap();
        drop(body);
        let ending = told.recv().await.unwrap();
        assert_eq!((ending.outcome.as_str(), ending.bytes), ("disconnected", 9));
        let drained = ending.drained.map(|drained| (drained.bytes, drained.end));
        assert_eq!(drained, limits.map(|_| (9, DrainEnd::Completed)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_reading_is_read_on_for_where_that_was_asked_for_and_a_shutdown_waits_for_it()
 {
    for limits in [None, Some(DrainLimits::new())] {
        let mut lifeline = Lifeline::new();
        if let Some(limits) = limits {
            lifeline = lifeline.drain(limits);
        }
        let script = Script::new().data("data: 1\n\n").data("data: 2\n\n");
        let script = script.sleep(5 * SECOND).data("data: 3\n\n");
        let (response, mut told) = through(&lifeline, script, Some(SECOND)).await;
        let mut body = response.into_body();
        body.frame().await.unwrap().unwrap();
        sleep(61 * SECOND).await;
        lifeline.shutdown(10 * SECOND).await;
        let ending = told.try_recv().unwrap();
        assert_eq!((ending.outcome.as_str(), ending.reason()), ("timed_out", Some("unread")));
        let drained = ending.drained.map(|drained| (drained.bytes, drained.end));
        assert_eq!((ending.bytes, drained), (9, limits.map(|_| (18, DrainEnd::Completed))));
        assert!(text(body).await.contains(r#""code":"unread""#));
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_lets_streams_finish_aborts_the_rest_and_waits_for_every_ending() {
    let lifeline = Lifeline::new();
    let short = Script::new().data("data: 1\n\n").sleep(3 * SECOND).data("data: 2\n\n");
    let (short, mut short_told) = through(&lifeline, short, Some(SECOND)).await;
    let endless = Script::new().data("data: 1\n\n").stall();
    let (endless, mut endless_told) = through(&lifeline, endless, Some(SECOND)).await;
    let [short, endless] =
        [short, endless].map(|response| tokio::spawn(text(response.into_body())));
    let start = Instant::now();
    lifeline.shutdown(10 * SECOND).await;
    assert_eq!(start.elapsed(), 10 * SECOND);
    assert_eq!(short_told.try_recv().unwrap().outcome.as_str(), "completed");
    let ending = endless_told.try_recv().unwrap();
    assert_eq!((ending.outcome.as_str(), ending.reason()), ("aborted", Some("shutdown")));
    assert_eq!(short.await.unwrap(), "data: 1\n\ndata: 2\n\n");
    assert!(endless.await.unwrap().contains(r#""code":"shutdown""#));
    // Whoever comes now comes too late.
    let (response, _) = through(&lifeline, Script::new(), Some(SECOND)).await;
    assert_eq!(response.status(), 503);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_with_nothing_to_wait_for_does_not_wait() {
    let lifeline = Lifeline::new();
    let (response, _told) = through(&lifeline, Script::new().data("x"), Some(SECOND)).await;
    drop(drain(response.into_body()).await);
    let start = Instant::now();
    lifeline.shutdown(3600 * SECOND).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_live_stream_can_be_found_and_aborted_by_its_id() {
    let lifeline = Lifeline::new();
    let script = Script::new().data("data: 1\n\n").stall();
    let (response, mut told) = through(&lifeline, script, Some(SECOND)).await;
    let [id] = lifeline.streams().keys()[..] else { panic!("not one stream") };
    assert_eq!(lifeline.streams().abort(&id, "operator"), Some(true));
    assert!(text(response.into_body()).await.contains(r#""message":"operator""#));
    assert_eq!(told.recv().await.unwrap().exchange.id(), id);
    assert!(lifeline.streams().keys().is_empty());
}

// hyper takes 16 frames for a client that reads nothing. Events take some of that room and heartbeats the rest, so that the
// last that was asked of the upstream may have been answered with nothing.
#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_cut_however_many_frames_hyper_has_taken() {
    for events in 1..20 {
        let (tell, mut told) = unbounded_channel();
        let layer = Lifeline::new().layer(FinalizeLayer::new(move |_| {
            let tell = tell.clone();
            move |ending| drop(tell.send(ending))
        }));
        let service = layer.layer(service_fn(move |_: Request<Incoming>| async move {
            let event = format!("data: {}\n\n", "x".repeat(1000));
            let script = (0..events).fold(Script::new(), |script, _| script.data(event.clone()));
            let response = Response::builder().header("content-type", "text/event-stream");
            Ok::<_, Infallible>(response.body(script.stall()).unwrap())
        }));
        let (mut client, server) = tokio::io::duplex(1024);
        let connection = http1::Builder::new()
            .serve_connection(TokioIo::new(server), TowerToHyperService::new(service));
        let connection = tokio::spawn(connection);
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let ending = timeout(3600 * SECOND, told.recv()).await;
        let ending = ending.unwrap_or_else(|_| panic!("{events} events, and nothing for an hour"));
        assert_eq!(ending.unwrap().outcome.as_str(), "timed_out", "{events} events");
        connection.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_was_reported_within_does_not_keep_a_shutdown_from_the_next() {
    let lifeline = Lifeline::new();
    let calls = Arc::new(AtomicUsize::new(0));
    let attempts =
        FinalizeLayer::new(|_| drop::<Ending>).layer(service_fn(move |_: Request<()>| {
            let first = calls.fetch_add(1, Ordering::SeqCst) == 0;
            let response = Response::new(Script::new().data("data: 1\n\n").stall());
            std::future::ready(if first { Err(ScriptError::new("refused")) } else { Ok(response) })
        }));
    let retrying = service_fn(move |request: Request<()>| {
        let attempts = attempts.clone();
        async move {
            assert!(attempts.clone().oneshot(request.clone()).await.is_err());
            attempts.oneshot(request).await
        }
    });
    let layer = lifeline.layer(FinalizeLayer::new(|_| drop::<Ending>));
    let response = layer.layer(retrying).oneshot(Request::new(())).await.unwrap();
    let reading = tokio::spawn(text(response.into_body()));
    let start = Instant::now();
    timeout(3600 * SECOND, lifeline.shutdown(SECOND)).await.expect("it never returns");
    assert_eq!((start.elapsed(), reading.await.unwrap().as_str()), (SECOND, "data: 1\n\n"));
}

#[tokio::test(start_paused = true)]
async fn all_services_of_one_share_the_number_of_drains() {
    let lifeline = Lifeline::new().drain(DrainLimits::new().streams(1));
    let mut left = Vec::new();
    for _ in 0..3 {
        let script = Script::new().data("data: 1\n\n").sleep(SECOND).end();
        let (response, told) = through(&lifeline, script, Some(SECOND)).await;
        let mut body = response.into_body();
        body.frame().await.unwrap().unwrap();
        left.push((body, told));
    }
    let (bodies, told): (Vec<_>, Vec<_>) = left.into_iter().unzip();
    drop(bodies);
    let mut ends = Vec::new();
    for mut told in told {
        ends.push(told.recv().await.unwrap().drained.unwrap().end);
    }
    assert_eq!(ends, [DrainEnd::Completed, DrainEnd::Limit, DrainEnd::Limit]);
}
