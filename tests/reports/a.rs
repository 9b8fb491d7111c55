//! A cancel that waits: somebody presses stop while a model thinks, and the abort is seen at the next chunk, 10 to 20 s
//! later, for the reader sits in a read that nothing wakes.

use std::{
    sync::{Arc, Mutex, mpsc},
    task::Poll::{Pending, Ready},
    time::Duration,
};

use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt;
use testkit::{Event, Gate, Log, Play, Script, Upstream};
use tokio::{
    io::AsyncWriteExt,
    net::TcpListener,
    time::{Instant, sleep},
};
use tower::{Layer, ServiceExt};
use tower_lifeline::{
    abort::{AbortHandle, AbortKind, AbortLayer, AbortReason, Aborted},
    exchange::Outcome,
    isolate::IsolateLayer,
    tee::Recording,
};

use crate::{
    client::{Answer, Over, Wire},
    server::{
        Does, LIMIT, MOMENT, Run, UNWOUND, aborted_event, answering, error_event, middle_of_five,
        proxy, sse, typed,
    },
};

const THOUGHT: &str = "data: {\"thinking\":\"hm\"}\n\n";

fn thinking() -> Play {
    Play::new().head_sse().chunk(THOUGHT).stall()
}

#[tokio::test]
async fn a_cancel_while_the_model_thinks_reaches_the_client_and_the_upstream_within_100_ms() {
    for wire in Wire::BOTH {
        let took = middle_of_five(async || {
            let upstream = Upstream::start([thinking()]).await;
            let run = Run::of(proxy(upstream.addr())).await;
            let mut answer = Answer::get(wire, run.addr).await;
            answer.read_to(THOUGHT).await;
            let cancelled = Instant::now();
            assert!(run.handle.abort("stop"));
            let all = answer.rest().await;
            let seen = cancelled.elapsed();
            assert_eq!(all, (format!("{THOUGHT}{}", aborted_event("stop")), Over::Clean));
            seen.max(upstream.closed(0, LIMIT).await - cancelled)
        });
        let took = took.await;
        assert!(took <= UNWOUND, "{wire:?}: {took:?}");
    }
}

#[tokio::test]
async fn a_cancel_before_the_upstream_has_answered_is_answered_within_100_ms() {
    for wire in Wire::BOTH {
        let took = middle_of_five(async || {
            let upstream = Upstream::start([Play::new().stall()]).await;
            let run = Run::of(proxy(upstream.addr())).await;
            let asking = tokio::spawn(async move { Answer::get(wire, run.addr).await.status });
            upstream.request(0, LIMIT).await;
            let cancelled = Instant::now();
            assert!(run.handle.abort("stop"));
            assert_eq!(asking.await.unwrap(), 503);
            let seen = cancelled.elapsed();
            seen.max(upstream.closed(0, LIMIT).await - cancelled)
        });
        let took = took.await;
        assert!(took <= UNWOUND, "{wire:?}: {took:?}");
    }
}

/// The abort comes from another thread, and what is in between keeps its socket open whatever happens.
#[tokio::test]
async fn a_cancel_from_a_thread_frees_the_reader_though_a_proxy_in_between_keeps_its_socket_open() {
    for wire in Wire::BOTH {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let deaf = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut kept = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
                stream.write_all(format!("{head}{THOUGHT}").as_bytes()).await.unwrap();
                kept.push(stream);
            }
        });
        let took = middle_of_five(async || {
            let mut run = Run::of(proxy(deaf)).await;
            let mut answer = Answer::get(wire, run.addr).await;
            answer.read_to(THOUGHT).await;
            let cancelled = Instant::now();
            let handle = run.handle.clone();
            std::thread::spawn(move || assert!(handle.abort("stop")));
            let (body, over) = answer.rest().await;
            assert!(body.ends_with(&aborted_event("stop")) && over == Over::Clean, "{body:?}");
            run.endings.next().await;
            cancelled.elapsed()
        });
        let took = took.await;
        assert!(took <= UNWOUND, "{wire:?}: {took:?}");
    }
}

/// hyper polls nothing for such a client, so nobody looks at a token.
#[tokio::test]
async fn a_cancel_while_the_client_does_not_read_frees_the_producer_within_100_ms_without_a_poll() {
    for wire in Wire::BOTH {
        let took = middle_of_five(async || {
            let log = Log::new();
            let (mut run, _answer) = unread(wire, &log, false).await;
            let polls = log.polls();
            let cancelled = Instant::now();
            assert!(run.handle.abort("stop"));
            let dropped = log.dropped_within(LIMIT).await;
            assert_eq!(run.endings.next().await.reason(), Some("stop"));
            let told = Instant::now();
            assert_eq!(log.polls(), polls, "somebody polled, so this shows nothing");
            dropped.max(told) - cancelled
        });
        let took = took.await;
        assert!(took <= UNWOUND, "{wire:?}: {took:?}");
    }
}

/// Nothing can interrupt a poll. Read on a thread of its own it holds up nobody but itself.
#[tokio::test]
async fn a_cancel_while_the_library_below_blocks_its_thread_frees_the_client_within_100_ms() {
    for wire in Wire::BOTH {
        let took = middle_of_five(async || {
            let (release, blocked) = mpsc::channel::<()>();
            let blocked = Arc::new(Mutex::new(blocked));
            let library = answering(move |_| {
                let (blocked, mut given) = (blocked.clone(), false);
                sse(Does(move || {
                    if !std::mem::replace(&mut given, true) {
                        return Ready(Some(Ok(THOUGHT.into())));
                    }
                    let _ = blocked.lock().unwrap().recv_timeout(LIMIT);
                    Ready(None)
                }))
            });
            let mut run = Run::of(IsolateLayer::new(1).layer(library)).await;
            let mut answer = Answer::get(wire, run.addr).await;
            answer.read_to(THOUGHT).await;
            let cancelled = Instant::now();
            assert!(run.handle.abort("stop"));
            let all = answer.rest().await;
            assert_eq!(run.endings.next().await.outcome, Outcome::Aborted);
            let took = cancelled.elapsed();
            assert_eq!(all, (format!("{THOUGHT}{}", aborted_event("stop")), Over::Clean));
            drop(release);
            took
        });
        let took = took.await;
        assert!(took <= UNWOUND, "{wire:?}: {took:?}");
    }
}

const LOT: usize = 16 * 1024;

/// An endless stream to a client that does not read it, from when nothing is taken from it any more.
async fn unread(wire: Wire, log: &Log, isolated: bool) -> (Run, Answer) {
    let (given, lot) = (log.clone(), "x".repeat(LOT));
    let producer = answering(move |_| {
        typed("text/plain", Script::new().log_into(&given).endless(lot.clone()))
    });
    let run = match isolated {
        false => Run::of(producer).await,
        true => Run::of(IsolateLayer::new(4).layer(producer)).await,
    };
    let answer = Answer::get_slowly(wire, run.addr).await;
    let (mut polls, mut quiet) = (0, 0);
    let patience = Instant::now() + LIMIT;
    while quiet < 6 {
        assert!(Instant::now() < patience, "more and more is taken: {wire:?}");
        sleep(Duration::from_millis(15)).await;
        quiet = if polls > 0 && log.polls() == polls { quiet + 1 } else { 0 };
        polls = log.polls();
    }
    (run, answer)
}

#[tokio::test]
async fn no_more_is_taken_from_a_producer_than_a_client_that_does_not_read_has_room_for() {
    for (wire, isolated) in
        [(Wire::H1, false), (Wire::H1, true), (Wire::H2, false), (Wire::H2, true)]
    {
        let log = Log::new();
        let (_run, _answer) = unread(wire, &log, isolated).await;
        sleep(MOMENT).await;
        let taken = log.count(|event| *event == Event::Data(LOT)) * LOT;
        assert!(taken <= 1024 * 1024, "{wire:?}, {isolated}: {taken} bytes wait");
    }
}

/// The cancel comes in the very poll that gives the chunk, where a `select!` of the two would lose it.
#[tokio::test]
async fn the_chunk_that_was_received_at_the_moment_of_the_cancel_is_kept() {
    for wire in Wire::BOTH {
        for media in ["text/event-stream", "text/plain"] {
            let mut run = Run::of(answering(move |exchange| {
                let mut given = false;
                typed(
                    media,
                    Does(move || {
                        if std::mem::replace(&mut given, true) {
                            return Pending;
                        }
                        assert!(exchange.abort("stop"));
                        Ready(Some(Ok(THOUGHT.into())))
                    }),
                )
            }))
            .await;
            let got = Answer::get(wire, run.addr).await.rest().await;
            let expected = match media {
                "text/plain" => (THOUGHT.to_owned(), Over::Cut),
                _ => (format!("{THOUGHT}{}", aborted_event("stop")), Over::Clean),
            };
            assert_eq!(got, expected, "{wire:?}, {media}");
            let ending = run.endings.next().await;
            assert_eq!((ending.outcome, ending.frames), (Outcome::Aborted, 1), "{wire:?}, {media}");
            assert_eq!(ending.exchange.fact::<Recording>().unwrap().to_bytes(), THOUGHT);
        }
    }
}

const USAGE: &str = "data: {\"usage\":{\"total_tokens\":7}}\n\ndata: [DONE]\n\n";

/// The end and the cancel come together, in every order. Whoever is told that the cancel came too late has the usage.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_usage_chunk_of_a_normal_completion_is_never_lost_to_a_cancel_that_comes_too_late()
{
    let mut late = 0;
    for n in 0..300 {
        let wire = Wire::BOTH[n % 2];
        let finish = Gate::new();
        let play = Play::new().head_sse().chunk(THOUGHT).wait(&finish).chunk(USAGE).last_chunk();
        let upstream = Upstream::start([play]).await;
        let mut run = Run::of(proxy(upstream.addr())).await;
        let mut answer = Answer::get(wire, run.addr).await;
        answer.read_to(THOUGHT).await;
        let reading = tokio::spawn(async move { answer.rest().await });
        finish.open();
        sleep(Duration::from_micros(20 * (n as u64 % 40))).await;
        let in_time = run.handle.abort("stop");
        let (body, over) = reading.await.unwrap();
        let rest = body.strip_prefix(THOUGHT).unwrap();
        assert_eq!(over, Over::Clean, "{wire:?}: {rest:?}");
        let ending = run.endings.next().await;
        if in_time {
            // At most the usage itself came first, and then it is kept.
            let (kept, aborted) = rest.split_at(rest.len() - aborted_event("stop").len());
            assert_eq!(aborted, aborted_event("stop"));
            assert!(kept.is_empty() || kept == USAGE, "{kept:?}");
            assert_eq!(ending.outcome, Outcome::Aborted);
        } else {
            late += 1;
            assert_eq!(rest, USAGE, "{wire:?}");
            assert_eq!(ending.outcome, Outcome::Completed);
        }
    }
    assert!(late > 0, "the cancel always came in time, so this shows nothing");
}

/// Many upstreams end that way, and a stream is cut into events on its way.
#[tokio::test]
async fn a_last_usage_chunk_that_lacks_its_blank_line_is_not_lost_at_the_end() {
    let usage = "data: {\"usage\":{\"total_tokens\":7}}";
    for wire in Wire::BOTH {
        let play = Play::new().head_sse().chunk(THOUGHT).chunk(usage).last_chunk();
        let upstream = Upstream::start([play]).await;
        let mut run = Run::of(proxy(upstream.addr())).await;
        let all = Answer::get(wire, run.addr).await.rest().await;
        assert_eq!(all, (format!("{THOUGHT}{usage}"), Over::Clean), "{wire:?}");
        assert_eq!(run.endings.next().await.outcome, Outcome::Completed);
    }
}

#[tokio::test]
async fn a_reason_of_ones_own_survives_to_the_reader_the_last_event_and_the_books() {
    let budget = || {
        let kind = AbortKind::Custom("budget".into());
        AbortReason::new(kind).with_text("all 5 dollars are spent")
    };
    // Over the wire.
    for wire in Wire::BOTH {
        let upstream = Upstream::start([thinking()]).await;
        let mut run = Run::of(proxy(upstream.addr())).await;
        let mut answer = Answer::get(wire, run.addr).await;
        answer.read_to(THOUGHT).await;
        assert!(run.handle.abort(budget()));
        assert!(!run.handle.abort(AbortKind::Requested));
        let (body, _) = answer.rest().await;
        let last = error_event("aborted", "all 5 dollars are spent", "budget");
        assert!(body.ends_with(&last), "{body:?}");
        let ending = run.endings.next().await;
        assert_eq!(ending.reason(), Some("all 5 dollars are spent"));
    }
    // In the process, where an SDK would read.
    let upstream = Upstream::start([thinking()]).await;
    let handle = AbortHandle::new();
    let given = handle.clone();
    let sdk = AbortLayer::new(move |_| given.clone()).layer(proxy(upstream.addr()));
    let response = sdk.oneshot(Request::new(Body::empty())).await.unwrap();
    let mut body = response.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), THOUGHT);
    handle.abort(budget());
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(error.downcast_ref::<Aborted>().unwrap().reason(), &budget());
}

#[tokio::test]
async fn an_error_or_a_panic_of_the_producer_reaches_the_consumer_and_is_no_clean_end() {
    type Make = fn() -> Script;
    let producers: [(Make, Outcome, String); 2] = [
        (
            || Script::new().data(THOUGHT).pending().error("boom"),
            Outcome::Failed,
            error_event("upstream", "the upstream failed", "failed"),
        ),
        (
            || Script::new().data(THOUGHT).pending().panic("boom"),
            Outcome::Panicked,
            error_event("upstream", "internal error", "panicked"),
        ),
    ];
    for (make, outcome, event) in producers {
        for wire in Wire::BOTH {
            let whole = (format!("{THOUGHT}{event}"), Over::Clean);
            let mut run = Run::of(answering(move |_| sse(make()))).await;
            assert_eq!(Answer::get(wire, run.addr).await.rest().await, whole, "{wire:?}");
            assert_eq!(run.endings.next().await.outcome, outcome, "{wire:?}");

            // From a thread of its own.
            let isolated = IsolateLayer::new(4).layer(answering(move |_| sse(make())));
            let mut run = Run::of(isolated).await;
            assert_eq!(Answer::get(wire, run.addr).await.rest().await, whole, "{wire:?}");
            assert_eq!(run.endings.next().await.outcome, outcome, "{wire:?}");

            // Where nothing can be added the stream is cut.
            let mut run = Run::of(answering(move |_| Response::new(make()))).await;
            let cut = (THOUGHT.to_owned(), Over::Cut);
            assert_eq!(Answer::get(wire, run.addr).await.rest().await, cut, "{wire:?}");
            assert_eq!(run.endings.next().await.outcome, outcome, "{wire:?}");
        }
    }
}
