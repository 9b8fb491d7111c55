//! Tee and finalize: to account for a response it was buffered whole, so clients gave up at their idle limit, and what it cost
//! was lost whenever it did not end as planned.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, header::CONTENT_TYPE, request::Parts};
use testkit::{Gate, Play, Script, Upstream, drain};
use tokio::{sync::mpsc::unbounded_channel, time::timeout};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_lifeline::{
    Lifeline,
    error::{AsError, BoxError},
    exchange::Outcome,
    final_frame::FinalFrameLayer,
    finalize::{Ending, FinalizeLayer},
    keepalive::IdleKeepaliveLayer,
    tee::{Limit, Recording, TeeLayer},
    timeouts::{Limits, TimeoutsLayer},
};

use crate::{
    client::{Answer, Over, Wire},
    log::Lines,
    server::{Heart, LIMIT, Run, answering, endings, nobody, proxy, serve, sse},
};

const ONE: &str = "data: one\n\n";
const TWO: &str = "data: two\n\n";

/// Gives the upstream time to be heard before it breaks.
const PAUSE: Duration = Duration::from_millis(50);

fn good() -> Play {
    Play::new().head_sse().chunk(ONE).chunk(TWO).last_chunk()
}

fn broken() -> Play {
    Play::new().head_sse().chunk(ONE).sleep(PAUSE).reset()
}

#[tokio::test]
async fn what_is_captured_is_streamed_on_at_once() {
    for wire in Wire::BOTH {
        let gate = Gate::new();
        let play = Play::new().head_sse().chunk(ONE).wait(&gate).chunk(TWO).last_chunk();
        let upstream = Upstream::start([play]).await;
        let mut run = Run::of(proxy(upstream.addr())).await;
        let mut answer = Answer::get(wire, run.addr).await;
        answer.read_to(ONE).await; // The rest is not even there yet.
        gate.open();
        assert_eq!(answer.rest().await, (format!("{ONE}{TWO}"), Over::Clean), "{wire:?}");
        let recording = run.endings.next().await.exchange.fact::<Recording>().unwrap();
        assert_eq!(recording.to_bytes(), format!("{ONE}{TWO}"));
    }
}

#[tokio::test]
async fn a_clean_end_is_finalized_once_with_everything_captured() {
    for wire in Wire::BOTH {
        let upstream = Upstream::start([good()]).await;
        let mut run = Run::of(proxy(upstream.addr())).await;
        Answer::get(wire, run.addr).await.rest().await;
        let ending = run.endings.only().await;
        assert_eq!((ending.outcome, ending.bytes), (Outcome::Completed, 22), "{wire:?}");
        assert_recorded(&ending, &format!("{ONE}{TWO}"), Outcome::Completed);
    }
}

#[tokio::test]
async fn a_client_that_left_is_finalized_once_and_the_record_is_incomplete() {
    for wire in Wire::BOTH {
        let upstream = Upstream::start([Play::new().head_sse().chunk(ONE).stall()]).await;
        let mut run = Run::of(proxy(upstream.addr())).await;
        let mut answer = Answer::get(wire, run.addr).await;
        answer.read_to(ONE).await;
        drop(answer);
        let ending = run.endings.only().await;
        assert_eq!(ending.outcome, Outcome::Disconnected, "{wire:?}");
        assert_recorded(&ending, ONE, Outcome::Disconnected);
        upstream.closed(0, LIMIT).await;
    }
}

#[tokio::test]
async fn an_upstream_that_breaks_off_is_finalized_once_and_the_record_is_incomplete() {
    for wire in Wire::BOTH {
        let upstream = Upstream::start([broken()]).await;
        let mut run = Run::of(proxy(upstream.addr())).await;
        let (body, over) = Answer::get(wire, run.addr).await.rest().await;
        assert!(body.starts_with(&format!("{ONE}event: error\n")) && over == Over::Clean, "{body}");
        let ending = run.endings.only().await;
        assert_eq!(ending.outcome, Outcome::Failed, "{wire:?}");
        assert!(ending.error().is_some(), "{wire:?}");
        assert_recorded(&ending, ONE, Outcome::Failed);
    }
}

fn assert_recorded(ending: &Ending, bytes: &str, outcome: Outcome) {
    let recording = ending.exchange.fact::<Recording>().unwrap();
    assert_eq!((&*recording.to_bytes(), recording.outcome()), (bytes.as_bytes(), Some(outcome)));
}

#[tokio::test]
async fn an_upstream_that_can_not_be_reached_is_a_502_finalized_once_with_the_cause_in_the_log() {
    for wire in Wire::BOTH {
        let (lines, _guard) = Lines::read();
        let traced = FinalizeLayer::traced().layer(proxy(nobody().await));
        let mut run = Run::of(traced).await;
        let answer = Answer::get(wire, run.addr).await;
        assert_eq!(answer.status, 502, "{wire:?}");
        let ending = run.endings.only().await;
        assert_eq!((ending.outcome, ending.status), (Outcome::Failed, None), "{wire:?}");
        assert_recorded(&ending, "", Outcome::Failed);
        let [line] = &*lines.with("exchange ended") else { panic!("{lines:?}") };
        assert_eq!((line.get("level"), line.get("outcome")), (Some("WARN"), Some("failed")));
        assert!(line.get("error").unwrap().contains("refused"), "{line:?}");
    }
}

/// A stream of one second under limits that a total one of the same length would cut.
#[tokio::test]
async fn a_limit_for_each_read_is_none_for_the_whole() {
    let (idle, tick) = (Duration::from_millis(300), Duration::from_millis(60));
    let long = (0..20).fold(Play::new().head_sse(), |play, _| play.chunk(ONE).sleep(tick));
    for wire in Wire::BOTH {
        let upstream = Upstream::start([long.clone().last_chunk()]).await;
        let (tell, mut endings) = endings();
        let stack = ServiceBuilder::new()
            .layer(FinalFrameLayer::by_media())
            .layer(TimeoutsLayer::new(Limits::new().head(idle).first_frame(idle).idle(idle)))
            .layer(tell.layer())
            .service(proxy(upstream.addr()));
        let all = Answer::get(wire, serve(stack).await).await.rest().await;
        assert_eq!(all, (ONE.repeat(20), Over::Clean), "{wire:?}");
        let ending = endings.only().await;
        assert_eq!(ending.outcome, Outcome::Completed, "{wire:?}");
        assert!(ending.elapsed >= 20 * tick, "{:?}", ending.elapsed);
    }
}

#[tokio::test]
async fn a_hook_that_panics_is_counted_and_the_client_has_everything() {
    for wire in Wire::BOTH {
        let upstream = Upstream::start([good()]).await;
        let layer = FinalizeLayer::new(|_: &Parts| |_: Ending| panic!("the database is gone"));
        let tracker = layer.tracker();
        let mut run = Run::of(layer.layer(proxy(upstream.addr()))).await;
        let all = Answer::get(wire, run.addr).await.rest().await;
        assert_eq!(all, (format!("{ONE}{TWO}"), Over::Clean), "{wire:?}");
        assert_eq!(run.endings.only().await.outcome, Outcome::Completed);
        assert_eq!((tracker.hook_panics(), tracker.live()), (1, 0), "{wire:?}");
    }
}

#[tokio::test]
async fn an_async_hook_that_fails_is_counted_and_its_ending_is_handed_to_the_fallback() {
    for wire in Wire::BOTH {
        let upstream = Upstream::start([broken()]).await;
        let (tell, mut told) = unbounded_channel();
        let layer = FinalizeLayer::spawned(
            |_: &Parts| |_: Ending| async { panic!("the database is gone") },
            move |ending| tell.send(ending.outcome).unwrap(),
        );
        let tracker = layer.tracker();
        let run = Run::of(layer.layer(proxy(upstream.addr()))).await;
        Answer::get(wire, run.addr).await.rest().await;
        timeout(LIMIT, tracker.drained()).await.unwrap();
        assert_eq!(tracker.hook_panics(), 1, "{wire:?}");
        assert_eq!(told.try_recv().ok(), Some(Outcome::Failed), "{wire:?}");
        assert!(told.try_recv().is_err(), "{wire:?}: told twice");
    }
}

/// Answers again what was answered in full before.
#[derive(Clone, Default)]
struct Cache(Arc<Mutex<HashMap<String, Recording>>>);

impl Cache {
    fn get(&self, request: &Request<Body>) -> Option<Response<Body>> {
        let recording = self.0.lock().unwrap().get(request.uri().path()).cloned()?;
        let (status, _, mut headers) = recording.head()?;
        let mut response = Response::new(Body::from(recording.to_bytes()));
        *response.status_mut() = status;
        let media = headers.remove(CONTENT_TYPE)?;
        response.headers_mut().insert(CONTENT_TYPE, media);
        Some(response)
    }

    fn around<S, B, M, N>(self, heart: S) -> impl Heart<Body, Error = S::Error>
    where
        S: Heart<B, Error: AsError<N> + Send>,
        B: http_body::Body<Data = Bytes, Error: AsError<M> + Into<BoxError>> + Send + 'static,
        M: Send + Sync + 'static,
        N: Send + Sync + 'static,
    {
        let keeps = self.clone();
        let finalize = FinalizeLayer::new(move |request: &Parts| {
            let (cache, path) = (keeps.clone(), request.uri.path().to_owned());
            move |ending: Ending| {
                let recording = ending.exchange.fact::<Recording>().unwrap();
                if ending.outcome == Outcome::Completed && !recording.is_truncated() {
                    cache.0.lock().unwrap().insert(path, recording);
                }
            }
        });
        let live = ServiceBuilder::new()
            .layer(finalize)
            .layer(TeeLayer::recording(Limit::first(64 * 1024)))
            .service(heart);
        service_fn(move |request: Request<Body>| {
            let (again, live) = (self.get(&request), live.clone());
            async move {
                match again {
                    Some(response) => Ok(response),
                    None => live.oneshot(request).await.map(|live| live.map(Body::new)),
                }
            }
        })
    }
}

const JSON: &str = "{\"model\":\"m\",\"choices\":[]}";

fn json() -> Play {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
    Play::new().send(format!("{head}content-length: {}\r\n\r\n{JSON}", JSON.len()))
}

#[tokio::test]
async fn an_answer_that_is_given_again_has_its_own_content_type() {
    for wire in Wire::BOTH {
        let upstream = Upstream::start([json(), good()]).await;
        let addr = serve(Cache::default().around(proxy(upstream.addr()))).await;
        let events = format!("{ONE}{TWO}");
        for (path, media, body) in
            [("/json", "application/json", JSON), ("/sse", "text/event-stream", &events)]
        {
            for _ in 0..3 {
                let mut answer = Answer::get_path(wire, addr, path).await;
                assert_eq!(answer.header("content-type"), Some(media), "{wire:?}");
                assert_eq!(answer.rest().await, (body.to_owned(), Over::Clean), "{wire:?}");
            }
        }
        assert_eq!(upstream.conns().len(), 2, "{wire:?}: it was asked again");
    }
}

#[tokio::test]
async fn an_answer_that_did_not_end_cleanly_is_not_given_again() {
    for wire in Wire::BOTH {
        let left = Play::new().head_sse().chunk(ONE).stall();
        let upstream = Upstream::start([broken(), left, good()]).await;
        let addr = serve(Cache::default().around(proxy(upstream.addr()))).await;
        assert_eq!(Answer::get(wire, addr).await.rest().await.1, Over::Cut, "{wire:?}");
        let mut leaves = Answer::get(wire, addr).await;
        leaves.read_to(ONE).await;
        drop(leaves);
        upstream.closed(1, LIMIT).await;
        for _ in 0..2 {
            let all = Answer::get(wire, addr).await.rest().await;
            assert_eq!(all, (format!("{ONE}{TWO}"), Over::Clean), "{wire:?}");
        }
        assert_eq!(upstream.conns().len(), 3, "{wire:?}");
    }
}

/// Through all layers that there are, with their defaults.
#[tokio::test]
async fn an_answer_that_is_no_stream_keeps_its_content_length() {
    for wire in Wire::BOTH {
        let upstream = Upstream::start([json()]).await;
        let (tell, mut endings) = endings();
        let lifeline = Lifeline::new();
        let stack = lifeline.layer(tell.layer()).layer(proxy(upstream.addr()));
        let mut answer = Answer::get(wire, serve(stack).await).await;
        assert_eq!(answer.header("content-length"), Some(&*JSON.len().to_string()), "{wire:?}");
        assert_eq!(answer.rest().await, (JSON.to_owned(), Over::Clean), "{wire:?}");
        let ending = endings.only().await;
        assert_eq!((ending.outcome, ending.bytes), (Outcome::Completed, JSON.len() as u64));
    }
}

/// In the process, where ten minutes can pass in a moment.
#[tokio::test(start_paused = true)]
async fn a_request_of_607_s_and_37_thousand_tokens_ends_as_a_success() {
    const TOKEN: &str = "data: {\"delta\":\"tok\"}\n\n";
    let second = Duration::from_secs(1);
    let (tell, mut endings) = endings();
    let limits = Limits::new().head(120 * second).first_frame(120 * second).idle(120 * second);
    let stack = ServiceBuilder::new()
        .layer(IdleKeepaliveLayer::new(15 * second))
        .layer(FinalFrameLayer::by_media())
        .layer(TimeoutsLayer::new(limits))
        .layer(tell.layer())
        .layer(TeeLayer::recording(Limit::first(4 * 1024 * 1024)))
        .service(answering(move |_| {
            let thinking = Script::new().sleep(107 * second);
            let script = (0..500).fold(thinking, |script, _| {
                (0..74).fold(script.sleep(second), |script, _| script.data(TOKEN))
            });
            sse(script)
        }));
    let response = stack.oneshot(Request::new(Body::empty())).await.unwrap();
    let all = drain(response.into_body()).await;
    assert!(all.error.is_none(), "{:?}", all.error);
    let heartbeats = ": keep-alive\n".repeat(7);
    assert!(all.data == format!("{heartbeats}{}", TOKEN.repeat(37_000)));
    let ending = endings.next().await;
    assert_eq!((ending.outcome, ending.frames), (Outcome::Completed, 37_000));
    assert_eq!(ending.elapsed.as_secs(), 607);
    assert_recorded(&ending, &TOKEN.repeat(37_000), Outcome::Completed);
}
