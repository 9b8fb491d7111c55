//! Clients that stay and do not read, or are silent: faults.md 6, 10, and what can not be known.

use std::time::Duration;

use http::Response;
use testkit::{H1, H2, H2Next, Log, Reason, Script, dechunk};
use tower_lifeline::exchange::Outcome::{Completed, Disconnected};

use super::{assert_left_after, events, serve, stream, until_blocked};
use crate::server::{Front, LIMIT, MOMENT};

static FRAME: [u8; 65_536] = [b'\n'; 65_536];
const HEARTBEAT: &[u8] = b": keep-alive\n";

fn heartbeats(bytes: &[u8]) -> usize {
    bytes.windows(HEARTBEAT.len()).filter(|window| *window == HEARTBEAT).count()
}

// faults.md 6.
#[tokio::test]
async fn nothing_more_is_taken_for_a_client_that_does_not_read() {
    for front in Front::H1S {
        let log = Log::new();
        let (server, mut endings) = stream(front, &log, |s| s.endless(&FRAME[..])).await;
        let mut client = H1::connect_with_small_buffers(server.addr()).await.unwrap();
        client.get("/").await.unwrap();
        until_blocked(&log).await;
        let polls = log.polls();
        endings.none_within(MOMENT).await;
        assert_eq!(log.polls(), polls, "{front:?}");
        assert!(polls < 20, "{front:?}: {polls} frames of 64 KiB were taken");
    }
    for front in Front::H2S {
        let log = Log::new();
        let (server, mut endings) = stream(front, &log, |s| s.endless(&FRAME[..])).await;
        let mut client = H2::connect(server.addr()).await.unwrap();
        let _unread = client.request("GET", "/", &[]).await.unwrap();
        until_blocked(&log).await;
        let polls = log.polls();
        endings.none_within(MOMENT).await;
        assert_eq!(log.polls(), polls, "{front:?}");
        assert!(polls < 5, "{front:?}: {polls} frames of 64 KiB were taken");
    }
}

// faults.md 6.
#[tokio::test]
async fn heartbeats_do_not_pile_up_for_an_h2_client_that_does_not_read() {
    let interval = Duration::from_millis(50);
    for front in Front::H2S {
        let (server, mut endings) = serve(front, Some(interval), |_| async {
            events(Script::new().data(vec![b'\n'; 100_000]).stall())
        })
        .await;
        let mut client = H2::connect(server.addr()).await.unwrap();
        let (_, mut body) = client.request("GET", "/", &[]).await.unwrap();
        endings.none_within(20 * interval).await;
        let mut bytes = Vec::new();
        while bytes.len() - heartbeats(&bytes) * HEARTBEAT.len() < 100_000 {
            let H2Next::Data(data) = body.next(LIMIT).await else { panic!("cut: {front:?}") };
            bytes.extend_from_slice(&data);
        }
        assert!(heartbeats(&bytes) <= 2, "{front:?}: {}", heartbeats(&bytes));
        drop(client);
        assert_eq!(endings.only(server).await.outcome, Disconnected);
    }
}

/// hyper asks for more until sixteen pieces are queued, and no body can see that the client does not read them.
#[tokio::test]
async fn no_more_heartbeats_than_hyper_queues_wait_for_an_h1_client_that_does_not_read() {
    let interval = Duration::from_millis(20);
    for front in Front::H1S {
        let (server, mut endings) = serve(front, Some(interval), |_| async {
            let script = (0..4).fold(Script::new(), |script, _| script.data(&FRAME[..]));
            events(script.stall())
        })
        .await;
        let mut client = H1::connect_with_small_buffers(server.addr()).await.unwrap();
        client.get("/").await.unwrap();
        endings.none_within(60 * interval).await;
        client.read_head(LIMIT).await.unwrap();
        let all_data = |bytes: &[u8]| dechunk(bytes).chunks.len() >= 4;
        let body = dechunk(&client.read_until(all_data, LIMIT).await.unwrap()).body;
        let queued = heartbeats(&body);
        assert!((1..=16).contains(&queued), "{front:?}: {queued}");
    }
}

/// hyper buffers, the kernel buffers: what was handed on may never arrive.
#[tokio::test]
async fn completed_is_not_delivered() {
    for front in Front::H1S {
        let (server, mut endings) = serve(front, None, |_| async {
            Response::new((0..4).fold(Script::new(), |script, _| script.data(&FRAME[..])))
        })
        .await;
        let mut client = H1::connect_with_small_buffers(server.addr()).await.unwrap();
        client.get("/").await.unwrap();
        let ending = endings.next(LIMIT).await;
        assert_eq!((ending.outcome, ending.bytes), (Completed, 4 * 65_536), "{front:?}");
        client.reset();
    }
}

// faults.md 10: the limit.
#[tokio::test]
async fn a_client_that_has_gone_silent_is_not_found() {
    for front in Front::H2S {
        let log = Log::new();
        let (server, mut endings) = stream(front, &log, |s| s.data("data: 1\n\n").stall()).await;
        let mut client = H2::connect(server.addr()).await.unwrap();
        let (_, mut body) = client.request("GET", "/", &[]).await.unwrap();
        assert_eq!(body.next(LIMIT).await, H2Next::Data("data: 1\n\n".into()));
        client.freeze();
        endings.none_within(MOMENT).await;
    }
}

// faults.md 10: what helps.
#[tokio::test]
async fn a_client_that_has_gone_silent_is_found_by_pings() {
    let log = Log::new();
    let play = |script: Script| script.data("data: 1\n\n").stall();
    let (server, mut endings) = stream(Front::H2Pings, &log, play).await;
    let mut client = H2::connect(server.addr()).await.unwrap();
    let (_, mut body) = client.request("GET", "/", &[]).await.unwrap();
    assert_eq!(body.next(LIMIT).await, H2Next::Data("data: 1\n\n".into()));
    endings.none_within(MOMENT).await;
    client.freeze();
    assert_left_after(&endings.only(server).await, "data: 1\n\n");
}

#[tokio::test]
async fn an_h2_client_that_leaves_without_ever_opening_its_window_is_found() {
    for front in Front::H2S {
        let log = Log::new();
        let (server, endings) = stream(front, &log, |s| s.data("data: 1\n\n").stall()).await;
        let mut client = H2::with_window(server.addr(), 0).await.unwrap();
        let (_, mut body) = client.request("GET", "/", &[]).await.unwrap();
        assert_eq!(body.next(MOMENT).await, H2Next::TimedOut);
        body.reset(Reason::CANCEL);
        // Handed on, to hyper.
        assert_left_after(&endings.only(server).await, "data: 1\n\n");
    }
}
