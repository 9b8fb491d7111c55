//! Departures that hyper sees by itself, at once: faults.md 1 to 4 and 9.

use testkit::{Gate, H1, H2, H2Next, How, Log, Reason, dechunk};
use tokio::time::Instant;
use tower_lifeline::exchange::Outcome::{Completed, Disconnected};

use super::{
    GET, Leave, assert_left_after, events, first_event, noted, serve, silence, stream,
    until_blocked,
};
use crate::server::{AT_ONCE, Front, LIMIT, MOMENT, median_of_five};

static FLOOD: [u8; 65_536] = [b'x'; 65_536];

/// How an HTTP/2 client leaves.
#[derive(Clone, Copy, Debug)]
enum LeaveH2 {
    Stream(Reason),
    Fin,
    Reset,
}

impl LeaveH2 {
    const ALL: [Self; 4] =
        [Self::Stream(Reason::CANCEL), Self::Stream(Reason::NO_ERROR), Self::Fin, Self::Reset];

    /// Leaves the connection, or only the stream that `reset` resets; then it gives the client back.
    async fn go(self, client: H2, reset: impl FnOnce(Reason)) -> Option<H2> {
        match self {
            Self::Stream(reason) => {
                reset(reason);
                return Some(client);
            }
            Self::Fin => client.close().await,
            Self::Reset => client.kill().await,
        }
        None
    }
}

#[tokio::test]
async fn an_h1_client_that_leaves_an_idle_stream_is_found_at_once_with_all_it_was_given() {
    for (front, way) in ways(Leave::ALL, Front::H1S) {
        let took = median_of_five(async || {
            let log = Log::new();
            let (server, endings) = stream(front, &log, |s| s.data("data: 1\n\n").stall()).await;
            let client = first_event(&server, GET).await;
            let left = Instant::now();
            let client = way.go(client).await;
            let dropped = log.dropped_within(LIMIT).await;
            if let Some(mut client) = client {
                // By default it is treated as gone, and loses the rest.
                let end = client.read_to_end(LIMIT).await;
                assert_eq!((end.how, dechunk(&end.bytes).complete), (How::Fin, false));
            }
            assert_left_after(&endings.only(server).await, "data: 1\n\n");
            dropped - left
        });
        let took = took.await;
        assert!(took < AT_ONCE, "{front:?} {way:?}: {took:?}");
    }
}

#[tokio::test]
async fn an_h1_client_that_leaves_without_having_read_is_found_at_once() {
    for (front, way) in ways(Leave::ALL, Front::H1S) {
        let took = median_of_five(async || {
            let log = Log::new();
            let (server, endings) = stream(front, &log, |s| s.endless(&FLOOD[..])).await;
            let mut client = H1::connect_with_small_buffers(server.addr()).await.unwrap();
            client.send(GET).await.unwrap();
            until_blocked(&log).await;
            let left = Instant::now();
            let client = way.go(client).await;
            let dropped = log.dropped_within(LIMIT).await;
            drop(client);
            assert_eq!(endings.only(server).await.outcome, Disconnected);
            dropped - left
        });
        let took = took.await;
        assert!(took < AT_ONCE, "{front:?} {way:?}: {took:?}");
    }
}

#[tokio::test]
async fn an_h1_client_that_leaves_before_the_head_is_found_at_once() {
    for (front, way) in ways(Leave::ALL, Front::H1S) {
        let took = median_of_five(async || {
            let log = Log::new();
            let (server, endings) = silence(front, &log).await;
            let mut client = H1::connect(server.addr()).await.unwrap();
            client.send(GET).await.unwrap();
            noted(&log, "called").await;
            let left = Instant::now();
            let client = way.go(client).await;
            let given_up = noted(&log, "given up").await;
            drop(client);
            let ending = endings.only(server).await;
            assert_eq!((ending.outcome, ending.status), (Disconnected, None));
            given_up - left
        });
        let took = took.await;
        assert!(took < AT_ONCE, "{front:?} {way:?}: {took:?}");
    }
}

#[tokio::test]
async fn an_h2_client_that_leaves_an_idle_stream_is_found_at_once_with_all_it_was_given() {
    for (front, way) in ways(LeaveH2::ALL, Front::H2S) {
        let took = median_of_five(async || {
            let log = Log::new();
            let (server, endings) = stream(front, &log, |s| s.data("data: 1\n\n").stall()).await;
            let mut client = H2::connect(server.addr()).await.unwrap();
            let (_, mut body) = client.request("GET", "/", &[]).await.unwrap();
            assert_eq!(body.next(LIMIT).await, H2Next::Data("data: 1\n\n".into()));
            let left = Instant::now();
            let client = way.go(client, |reason| body.reset(reason)).await;
            let dropped = log.dropped_within(LIMIT).await;
            drop(client);
            assert_left_after(&endings.only(server).await, "data: 1\n\n");
            dropped - left
        });
        let took = took.await;
        assert!(took < AT_ONCE, "{front:?} {way:?}: {took:?}");
    }
}

#[tokio::test]
async fn an_h2_client_that_leaves_with_its_window_used_up_is_found_at_once() {
    for (front, way) in ways(LeaveH2::ALL, Front::H2S) {
        let took = median_of_five(async || {
            let log = Log::new();
            let (server, endings) = stream(front, &log, |s| s.endless(&FLOOD[..])).await;
            let mut client = H2::connect(server.addr()).await.unwrap();
            let (_, body) = client.request("GET", "/", &[]).await.unwrap();
            until_blocked(&log).await;
            let left = Instant::now();
            let client = way.go(client, |reason| body.reset(reason)).await;
            let dropped = log.dropped_within(LIMIT).await;
            drop(client);
            assert_eq!(endings.only(server).await.outcome, Disconnected);
            dropped - left
        });
        let took = took.await;
        assert!(took < AT_ONCE, "{front:?} {way:?}: {took:?}");
    }
}

#[tokio::test]
async fn an_h2_client_that_leaves_before_the_head_is_found_at_once() {
    for (front, way) in ways(LeaveH2::ALL, Front::H2S) {
        let took = median_of_five(async || {
            let log = Log::new();
            let (server, endings) = silence(front, &log).await;
            let mut client = H2::connect(server.addr()).await.unwrap();
            let call = client.start("GET", "/", &[]).await.unwrap();
            noted(&log, "called").await;
            let left = Instant::now();
            let client = way.go(client, |reason| call.reset(reason)).await;
            let given_up = noted(&log, "given up").await;
            drop(client);
            let ending = endings.only(server).await;
            assert_eq!((ending.outcome, ending.status), (Disconnected, None));
            given_up - left
        });
        let took = took.await;
        assert!(took < AT_ONCE, "{front:?} {way:?}: {took:?}");
    }
}

#[tokio::test]
async fn the_siblings_of_a_reset_h2_stream_go_on() {
    for front in Front::H2S {
        let (log, gate) = (Log::new(), Gate::new());
        let (server, mut endings) = stream(front, &log, {
            let gate = gate.clone();
            move |script| script.data("data: 1\n\n").wait(&gate).data("data: 2\n\n")
        })
        .await;
        let mut client = H2::connect(server.addr()).await.unwrap();
        let mut bodies = Vec::new();
        for _ in 0..3 {
            let (_, mut body) = client.request("GET", "/", &[]).await.unwrap();
            assert_eq!(body.next(LIMIT).await, H2Next::Data("data: 1\n\n".into()));
            bodies.push(body);
        }
        bodies.remove(1).reset(Reason::CANCEL);
        assert_left_after(&endings.next(LIMIT).await, "data: 1\n\n");
        endings.none_within(MOMENT).await;
        gate.open();
        for mut body in bodies {
            assert_eq!(body.rest(LIMIT).await, (b"data: 2\n\n".into(), H2Next::End));
            let ending = endings.next(LIMIT).await;
            assert_eq!((ending.outcome, ending.bytes), (Completed, 18), "{front:?}");
        }
    }
}

#[tokio::test]
async fn the_same_departure_is_complete_after_a_head_and_a_disconnect_after_a_get() {
    for (method, outcome) in [("HEAD", Completed), ("GET", Disconnected)] {
        let (server, endings) =
            serve(Front::H1, None, |_| async { events(testkit::Script::new().stall()) }).await;
        let mut client = H1::connect(server.addr()).await.unwrap();
        client.send(format!("{method} / HTTP/1.1\r\nhost: test\r\n\r\n")).await.unwrap();
        client.read_head(LIMIT).await.unwrap();
        client.reset();
        let ending = endings.only(server).await;
        assert_eq!((ending.outcome, ending.bytes), (outcome, 0));
    }
}

fn ways<W: Copy>(
    ways: impl IntoIterator<Item = W>,
    fronts: [Front; 3],
) -> impl Iterator<Item = (Front, W)> {
    ways.into_iter().flat_map(move |way| fronts.map(|front| (front, way)))
}
