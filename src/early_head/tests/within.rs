//! The whole stack: heartbeats outside, the ending inside.
#![cfg(feature = "final-frame")]

use bytes::Bytes;
use tokio::{sync::mpsc::unbounded_channel, time::advance};
use tower::ServiceBuilder;

use super::*;
use crate::{
    abort::{AbortHandle, AbortLayer},
    final_frame::FinalFrameLayer,
    finalize::FinalizeLayer,
    keepalive::IdleKeepaliveLayer,
};

const COMMENT: &str = ": keep-alive\n";

/// One run through the stack: the seconds of the head, the frames with their seconds, how it ended.
struct Seen {
    head: u64,
    frames: Vec<(u64, Bytes)>,
    ending: String,
}

async fn run<S, F>(service: S, during: F) -> Seen
where
    S: Service<
            Request<()>,
            Response = Response<Script>,
            Error = ScriptError,
            Future: Send + 'static,
        > + Clone
        + Send
        + 'static,
    F: AsyncFn(&AbortHandle),
{
    let (tell, mut told) = unbounded_channel();
    let handle = AbortHandle::new();
    let given = handle.clone();
    let service = ServiceBuilder::new()
        .layer(IdleKeepaliveLayer::new(10 * SECOND))
        .layer(FinalFrameLayer::by_media())
        .layer(EarlyHeadLayer::new(AFTER))
        .layer(AbortLayer::new(move |_: &Parts| given.clone()))
        .layer(FinalizeLayer::new(move |_: &Parts| {
            let tell = tell.clone();
            move |ending| tell.send(ending).unwrap()
        }))
        .service(service);
    let start = Instant::now();
    let reading = async {
        let response = service.oneshot(asking().0).await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let (head, mut body, mut frames) =
            (start.elapsed().as_secs(), response.into_body(), Vec::new());
        while let Some(frame) = body.frame().await {
            // All ends are in-band: there is never an error.
            frames.push((start.elapsed().as_secs(), frame.unwrap().into_data().unwrap()));
            assert!(frames.len() < 1_000, "a storm");
        }
        (head, frames)
    };
    let ((head, frames), ()) = tokio::join!(reading, during(&handle));
    let ending = told.try_recv().expect("no ending was told");
    assert!(told.try_recv().is_err(), "an end is told once");
    let ending = format!("{} {}", ending.outcome, ending.reason().unwrap_or("-"));
    Seen { head, frames, ending }
}

async fn nothing(_: &AbortHandle) {}

/// The error event.
fn told(kind: &str, message: &str, code: &str) -> String {
    format!(
        "event: error\ndata: {{\"type\":\"error\",\"error\":{{\"type\":\"{kind}\",\"message\":\"{message}\",\"code\":\"{code}\"}}}}\n\n"
    )
}

fn texts(seen: &Seen) -> Vec<(u64, &str)> {
    seen.frames.iter().map(|(at, data)| (*at, std::str::from_utf8(data).unwrap())).collect()
}

#[tokio::test(start_paused = true)]
async fn heartbeats_flow_before_the_true_head_and_go_on_after_it() {
    let script =
        Script::new().sleep(14 * SECOND).data("data: a\n\n").sleep(11 * SECOND).data("data: b\n\n");
    let seen = run(answering(22 * SECOND, sse(script)), nothing).await;
    assert_eq!(seen.head, 5);
    let expect = [
        (15, COMMENT),
        (25, COMMENT),
        (35, COMMENT),
        (36, "data: a\n\n"),
        (46, COMMENT),
        (47, "data: b\n\n"),
    ];
    assert_eq!(texts(&seen), expect);
    assert_eq!(seen.ending, "completed -");
}

#[tokio::test(start_paused = true)]
async fn a_late_refusal_ends_in_band_and_is_told_once() {
    let refusal = Response::builder().status(429).body(Script::new().data("{}")).unwrap();
    let seen = run(answering(22 * SECOND, Ok(refusal)), nothing).await;
    let last = told("upstream", "the upstream failed", "upstream_status_429");
    assert_eq!(texts(&seen), [(15, COMMENT), (22, &last)]);
    assert_eq!(seen.ending, "failed upstream_status_429");
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_that_is_no_stream_ends_in_band() {
    let json = Response::builder().header("content-type", "application/json");
    let seen =
        run(answering(22 * SECOND, Ok(json.body(Script::new().data("{}")).unwrap())), nothing)
            .await;
    let last = told("upstream", "the upstream failed", "upstream_not_a_stream");
    assert_eq!(texts(&seen)[1].1, last);
    assert_eq!(seen.ending, "failed upstream_not_a_stream");
}

#[tokio::test(start_paused = true)]
async fn a_late_service_error_ends_in_band() {
    let seen = run(answering(22 * SECOND, Err(ScriptError::new("refused"))), nothing).await;
    assert_eq!(texts(&seen)[1], (22, &*told("upstream", "the upstream failed", "failed")));
    assert_eq!(seen.ending, "failed -");
}

#[tokio::test(start_paused = true)]
async fn an_abort_while_it_waits_ends_in_band_with_its_own_reason() {
    let seen = run(answering(LATE, sse(Script::new())), async |handle| {
        sleep(22 * SECOND).await;
        assert!(handle.abort("stop"));
    })
    .await;
    assert_eq!(texts(&seen), [(15, COMMENT), (22, &*told("aborted", "stop", "aborted"))]);
    assert_eq!(seen.ending, "aborted stop");
}

#[tokio::test(start_paused = true)]
async fn a_late_panic_ends_in_band_and_says_nothing_of_its_message() {
    let service = service_fn(|request: Request<()>| async move {
        sleep(22 * SECOND).await;
        assert_eq!(request.uri().path(), "/other", "secret");
        sse(Script::new())
    });
    let seen = run(service, nothing).await;
    assert_eq!(
        texts(&seen),
        [(15, COMMENT), (22, &*told("upstream", "internal error", "panicked"))]
    );
    assert!(seen.ending.starts_with("panicked ") && seen.ending.contains("secret"));
}

#[tokio::test(start_paused = true)]
async fn jumps_of_the_clock_make_no_storm() {
    let seen = run(answering(1_000_000 * SECOND, sse(Script::new())), async |_| {
        for _ in 0..100 {
            sleep(SECOND).await;
            advance(10_000 * SECOND).await;
        }
    })
    .await;
    assert!(seen.frames.len() <= 201, "{} heartbeats for 100 jumps", seen.frames.len());
    assert_eq!(seen.ending, "completed -");
}
