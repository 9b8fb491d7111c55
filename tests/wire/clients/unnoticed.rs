//! Departures that hyper can not see until a write fails (truths.md 2), and how heartbeats find them: faults.md 3 and 5.

use std::{future::pending, time::Duration};

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use testkit::{Gate, How, Log, Script, dechunk};
use tokio::time::Instant;
use tower_lifeline::exchange::Outcome::{Completed, Disconnected};

use super::{GET, Leave, assert_left_after, events, first_event, noted, serve, silence};
use crate::server::{AT_ONCE, Endings, Front, LIMIT, MOMENT, Server, median_of_five};

const PIPELINED: &str = "GET / HTTP/1.1\r\nhost: test\r\n\r\nGET / HTTP/1.1\r\nhost: test\r\n\r\n";
const SMALL_POST: &str = "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 5\r\n\r\nhello";
const HALF_A_POST: &str = "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 50\r\n\r\nhello";

/// What the service does with the request.
#[derive(Clone, Copy, Debug)]
enum Upload {
    Dropped,
    Held,
    /// Read to its end beside the response.
    Read,
}

impl Upload {
    fn treat(self, request: Request<Body>) {
        match self {
            Self::Dropped => drop(request),
            Self::Held => drop(tokio::spawn(async {
                let _request = request;
                pending::<()>().await;
            })),
            Self::Read => drop(tokio::spawn(request.into_body().collect())),
        }
    }
}

/// Where hyper is blind.
const BLIND: [(Front, &str, Upload); 10] = [
    (Front::H1, PIPELINED, Upload::Dropped),
    (Front::Auto, PIPELINED, Upload::Dropped),
    (Front::Axum, PIPELINED, Upload::Dropped),
    (Front::H1, HALF_A_POST, Upload::Dropped),
    (Front::Auto, HALF_A_POST, Upload::Dropped),
    (Front::Axum, HALF_A_POST, Upload::Dropped),
    (Front::H1, HALF_A_POST, Upload::Held),
    (Front::Auto, HALF_A_POST, Upload::Held),
    (Front::Axum, HALF_A_POST, Upload::Held),
    (Front::HalfClose, GET, Upload::Dropped),
];

async fn stream(
    (front, _, treatment): (Front, &str, Upload),
    keepalive: Option<Duration>,
    play: impl Fn(Script) -> Script + Clone + Send + Sync + 'static,
) -> (Server, Endings) {
    serve(front, keepalive, move |request| {
        treatment.treat(request);
        let response = events(play(Script::new().data("data: 1\n\n")));
        async { response }
    })
    .await
}

#[tokio::test]
async fn without_heartbeats_a_client_that_hyper_does_not_watch_is_found_only_by_the_second_write() {
    for case in BLIND {
        for way in [Leave::Fin, Leave::Reset] {
            let gate = Gate::new();
            let (server, mut endings) = stream(case, None, {
                let gate = gate.clone();
                let pause = Duration::from_millis(20);
                move |s| s.wait(&gate).data("data: 2\n\n").sleep(pause).data("data: 3\n\n").stall()
            })
            .await;
            let client = first_event(&server, case.1).await;
            way.go(client).await;
            endings.none_within(MOMENT).await;
            gate.open();
            let ending = endings.only(server).await;
            assert_eq!(ending.outcome, Disconnected, "{case:?} {way:?}");
        }
    }
}

#[tokio::test]
async fn with_heartbeats_a_client_that_hyper_does_not_watch_is_found_within_two_intervals() {
    let interval = MOMENT;
    // By the second heartbeat: the third would come an interval later.
    let limit = 2 * interval + interval / 2;
    for case in BLIND {
        for way in [Leave::Fin, Leave::Reset] {
            let mut took = Duration::MAX;
            for _ in 0..3 {
                let (server, mut endings) = stream(case, Some(interval), Script::stall).await;
                let client = first_event(&server, case.1).await;
                let left = Instant::now();
                way.go(client).await;
                assert_left_after(&endings.next(LIMIT).await, "data: 1\n\n");
                took = took.min(left.elapsed());
                if took < limit {
                    break; // Else the machine may have been busy.
                }
            }
            assert!(took < limit, "{case:?} {way:?}: {took:?}");
        }
    }
}

#[tokio::test]
async fn a_client_whose_request_was_read_or_received_to_its_end_is_found_at_once() {
    for treatment in [Upload::Dropped, Upload::Read] {
        for front in Front::H1S {
            for way in Leave::ALL {
                let took = median_of_five(async || {
                    let case = (front, SMALL_POST, treatment);
                    let (server, mut endings) = stream(case, None, Script::stall).await;
                    let client = first_event(&server, SMALL_POST).await;
                    let left = Instant::now();
                    let client = way.go(client).await;
                    assert_left_after(&endings.next(LIMIT).await, "data: 1\n\n");
                    drop(client);
                    left.elapsed()
                });
                let took = took.await;
                assert!(took < AT_ONCE, "{front:?} {treatment:?} {way:?}: {took:?}");
            }
        }
    }
}

/// hyper leaves the response alone even so: a service that reads beside its answer must end that itself.
#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_its_request_is_seen_only_by_who_reads_that() {
    for front in Front::H1S {
        for way in Leave::ALL {
            let log = Log::new();
            let (server, mut endings) = serve(front, None, {
                let log = log.clone();
                move |request: Request<Body>| {
                    let log = log.clone();
                    tokio::spawn(async move {
                        let read = request.into_body().collect().await;
                        log.note(if read.is_err() { "cut" } else { "whole" });
                    });
                    async { events(Script::new().data("data: 1\n\n").stall()) }
                }
            })
            .await;
            let client = first_event(&server, HALF_A_POST).await;
            let _client = way.go(client).await;
            noted(&log, "cut").await;
            endings.none_within(MOMENT).await;
        }
    }
}

#[tokio::test]
async fn a_client_that_pipelines_is_not_found_before_the_head_by_anyone() {
    for front in Front::H1S {
        let log = Log::new();
        let (server, mut endings) = silence(front, &log).await;
        let mut client = testkit::H1::connect(server.addr()).await.unwrap();
        client.send(PIPELINED).await.unwrap();
        noted(&log, "called").await;
        client.reset();
        endings.none_within(MOMENT).await;
    }
}

#[tokio::test]
async fn a_client_that_only_closed_its_half_gets_the_whole_stream_where_the_server_allows_it() {
    let gate = Gate::new();
    let (server, mut endings) = stream((Front::HalfClose, GET, Upload::Dropped), None, {
        let gate = gate.clone();
        move |script| script.wait(&gate).data("data: 2\n\n")
    })
    .await;
    let mut client = first_event(&server, GET).await;
    client.half_close().await.unwrap();
    endings.none_within(MOMENT).await;
    gate.open();
    let end = client.read_to_end(LIMIT).await;
    let body = dechunk(&end.bytes);
    assert_eq!((end.how, body.complete), (How::Fin, true));
    assert_eq!(body.body, b"data: 1\n\ndata: 2\n\n");
    let ending = endings.only(server).await;
    assert_eq!((ending.outcome, ending.bytes), (Completed, 18));
}
