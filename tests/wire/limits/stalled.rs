//! Upstreams that are waited for too long.

use std::time::Duration;

use testkit::Play;
use tokio::time::Instant;
use tower_lifeline::timeouts::{Limit, Limits};

use super::{BEAT, INTERVAL, PATIENCE, Proxy, RELEASED, last_event};
use crate::{
    reader::{Over, Reader, Wire},
    server::median_of_five,
};

/// A comment every 20 ms, for longer than any limit.
fn comments(play: Play) -> Play {
    (0..100).fold(play, |play, _| play.sleep(INTERVAL).chunk(": working\n\n"))
}

// faults.md 12.
#[tokio::test]
async fn an_upstream_without_a_head_in_time_is_left_and_the_client_is_told_by_504() {
    for wire in Wire::ALL {
        let took = median_of_five(async || {
            let limits = Limits::new().head(PATIENCE);
            let mut proxy = Proxy::telling(wire, limits, Play::new().stall()).await;
            let start = Instant::now();
            let mut reader = Reader::get(wire, &proxy.server).await;
            let took = proxy.hits(Limit::Head, start).await;
            assert_eq!(reader.status, 504, "{wire:?}");
            assert_eq!(reader.rest().await.1, Over::Clean, "{wire:?}");
            took
        });
        let took = took.await;
        assert!(took <= RELEASED, "{wire:?}: {took:?}");
    }
}

// faults.md 13.
#[tokio::test]
async fn heartbeats_go_out_before_the_first_byte_and_do_not_put_its_limit_off() {
    for wire in Wire::ALL {
        let took = median_of_five(async || {
            let limits = Limits::new().first_frame(PATIENCE);
            let mut proxy = Proxy::telling(wire, limits, Play::new().head_sse().stall()).await;
            let start = Instant::now();
            let mut reader = Reader::get(wire, &proxy.server).await;
            reader.read_to(BEAT).await;
            let took = proxy.hits(Limit::FirstFrame, start).await;
            let (body, over) = reader.rest().await;
            let beats = body.strip_suffix(&last_event(Limit::FirstFrame)).expect(&body);
            assert_eq!((beats.replace(BEAT, ""), over), (String::new(), Over::Clean), "{wire:?}");
            took
        });
        let took = took.await;
        assert!(took <= RELEASED, "{wire:?}: {took:?}");
    }
}

// faults.md 13.
#[tokio::test]
async fn what_an_upstream_sends_to_keep_the_line_open_does_not_put_the_idle_limit_off() {
    for wire in Wire::BOTH {
        let limits = Limits::new().idle(PATIENCE);
        let play = comments(Play::new().head_sse().chunk("data: 1\n\n"));
        let mut proxy = Proxy::telling(wire, limits, play).await;
        let start = Instant::now();
        let mut reader = Reader::get(wire, &proxy.server).await;
        proxy.hits(Limit::Idle, start).await;
        let (body, over) = reader.rest().await;
        assert!(body.starts_with("data: 1\n\n") && body.contains(": working\n\n"), "{body}");
        assert!(body.ends_with(&last_event(Limit::Idle)), "{wire:?}: {body}");
        assert_eq!(over, Over::Clean, "{wire:?}");
    }
}

/// Stops in the middle of its second event.
fn half_an_event() -> Play {
    Play::new().head_sse().chunk("data: 1\n\n").chunk("data: 2").stall()
}

// faults.md 14.
#[tokio::test]
async fn nothing_is_added_to_half_an_event_and_the_cut_is_seen() {
    for wire in Wire::ALL {
        let took = median_of_five(async || {
            let limits = Limits::new().idle(PATIENCE);
            let mut proxy = Proxy::cutting(wire, limits, half_an_event()).await;
            let start = Instant::now();
            let mut reader = Reader::get(wire, &proxy.server).await;
            let took = proxy.hits(Limit::Idle, start).await;
            let cut = ("data: 1\n\ndata: 2".to_owned(), wire.cut());
            assert_eq!(reader.rest().await, cut, "{wire:?}");
            took
        });
        let took = took.await;
        assert!(took <= RELEASED, "{wire:?}: {took:?}");
    }
}

// faults.md 14.
#[tokio::test]
async fn with_a_final_frame_half_an_event_is_left_out_and_the_client_is_told() {
    for wire in Wire::ALL {
        let limits = Limits::new().idle(PATIENCE);
        let mut proxy = Proxy::telling(wire, limits, half_an_event()).await;
        let start = Instant::now();
        let mut reader = Reader::get(wire, &proxy.server).await;
        proxy.hits(Limit::Idle, start).await;
        let (body, over) = reader.rest().await;
        let expected = format!("data: 1\n\n{}", last_event(Limit::Idle));
        assert_eq!((body.replace(BEAT, ""), over), (expected, Over::Clean), "{wire:?}");
        assert!(body.contains(BEAT), "{wire:?}: no heartbeat, so this shows little");
    }
}

/// An event every 5 ms, for longer than any limit.
fn busy() -> Play {
    let pause = Duration::from_millis(5);
    (0..400).fold(Play::new().head_sse(), |play, _| play.chunk("data: 1\n\n").sleep(pause))
}

#[tokio::test]
async fn a_busy_stream_ends_at_the_total_limit() {
    for wire in Wire::ALL {
        let limits = Limits::new().idle(PATIENCE).total(PATIENCE);
        let mut proxy = Proxy::telling(wire, limits.clone(), busy()).await;
        let start = Instant::now();
        let mut reader = Reader::get(wire, &proxy.server).await;
        let (body, over) = reader.rest().await;
        proxy.hits(Limit::Total, start).await;
        let events = body.strip_suffix(&last_event(Limit::Total)).expect(&body).replace(BEAT, "");
        assert_eq!((events.replace("data: 1\n\n", ""), over), (String::new(), Over::Clean));
        assert!(!events.is_empty(), "{wire:?}");

        let mut proxy = Proxy::cutting(wire, limits, busy()).await;
        let start = Instant::now();
        let mut reader = Reader::get(wire, &proxy.server).await;
        let (body, over) = reader.rest().await;
        proxy.hits(Limit::Total, start).await;
        assert_eq!((body.replace("data: 1\n\n", ""), over), (String::new(), wire.cut()));
    }
}
