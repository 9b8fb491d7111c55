//! Where bytes of ours could corrupt, everything passes as it is (protocol.md 1d; faults.md 21, 32).

use std::time::Duration;

use http::{Response, StatusCode};
use testkit::{Eos, H1, H2, H2Next, How, ReadEnd, Script};

use super::{BEAT, INTERVAL, NEVER, Stage};
use crate::{
    reader::{Over, Reader, Wire},
    server::{LIMIT, MOMENT, Server},
    stage::{answering, sse, typed},
};

/// Makes something, and has a name for when it fails.
type Named<T> = (&'static str, fn() -> T);

/// Eleven bytes with a pause in their middle, long enough for several heartbeats.
fn paused() -> Script {
    Script::new().data("data: one\n").sleep(INTERVAL * 5).data("\n")
}

fn with_header(name: &'static str, value: &'static str) -> Response<Script> {
    let mut response = sse(paused());
    response.headers_mut().insert(name, value.parse().unwrap());
    response
}

fn with_status(status: u16) -> Response<Script> {
    let mut response = sse(paused());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

#[tokio::test]
async fn no_byte_is_added_where_a_length_a_coding_a_digest_or_a_range_speaks_of_the_bytes() {
    let cases: [Named<Response<Script>>; 10] = [
        ("content-length", || with_header("content-length", "11")),
        ("exact size", || sse(paused().exact_size(11))),
        ("gzip", || with_header("content-encoding", "gzip")),
        ("content-digest", || with_header("content-digest", "sha-256=:x:")),
        ("signature", || with_header("signature", "sig1=:x:")),
        ("content-range", || with_header("content-range", "bytes 0-10/100")),
        ("206", || with_status(206)),
        ("json", || typed("application/json", paused())),
        ("no type", || Response::new(paused())),
        ("grpc", || typed("application/grpc", paused())),
    ];
    for wire in Wire::BOTH {
        for (name, make) in cases {
            let stage = Stage::start(wire, INTERVAL, answering(make)).await;
            let mut reader = Reader::get(wire, &stage.server).await;
            let seen = reader.rest().await;
            assert_eq!(seen, ("data: one\n\n".into(), Over::Clean), "{wire:?}: {name}");
        }
    }
}

#[tokio::test]
async fn the_same_body_with_nothing_against_it_does_get_heartbeats() {
    for wire in Wire::BOTH {
        for coding in [None, Some("identity")] {
            let service = answering(move || {
                let script = Script::new().data("data: one\n\n").sleep(INTERVAL * 5);
                let mut response = sse(script.data("data: two\n\n"));
                if let Some(coding) = coding {
                    response.headers_mut().insert("content-encoding", coding.parse().unwrap());
                }
                response
            });
            let stage = Stage::start(wire, INTERVAL, service).await;
            let (body, over) = Reader::get(wire, &stage.server).await.rest().await;
            assert!(body.contains(BEAT), "{wire:?}: {body}");
            assert_eq!(over, Over::Clean);
        }
    }
}

#[tokio::test]
async fn head_204_and_304_get_no_heartbeat() {
    for (method, status) in [("HEAD", 200), ("GET", 204), ("GET", 304)] {
        let make = move || with_status(status).map(|_| Script::new().sleep(INTERVAL * 5));
        let stage = Stage::start(Wire::BOTH[0], INTERVAL, answering(make)).await;
        let mut client = H1::connect(stage.server.addr()).await.unwrap();
        client.send(format!("{method} / HTTP/1.1\r\nhost: test\r\n\r\n")).await.unwrap();
        assert_eq!(client.read_head(LIMIT).await.unwrap().status(), Some(status));
        let nothing = ReadEnd { bytes: Vec::new(), how: How::TimedOut };
        assert_eq!(client.read_to_end(INTERVAL * 8).await, nothing, "{method} {status}");

        // hyper reads these bodies in HTTP/2 and would send what they say (truths.md 1).
        let stage = Stage::start(Wire::BOTH[1], INTERVAL, answering(make)).await;
        let mut client = H2::connect(stage.server.addr()).await.unwrap();
        let (head, mut body) = client.request(method, "/", &[]).await.unwrap();
        assert_eq!(head.status.as_u16(), status);
        assert_eq!(body.rest(LIMIT).await, (Vec::new(), H2Next::End), "{method} {status}");
    }
}

/// What a client sees of a response: its status, its length, its body and how that ends.
async fn seen(wire: Wire, server: &Server) -> (u16, Option<String>, Vec<u8>, Over) {
    let mut reader = Reader::get(wire, server).await;
    let length = reader.header("content-length").map(str::to_owned);
    let (body, over) = reader.rest_within(MOMENT).await;
    (reader.status, length, body, over)
}

#[tokio::test]
async fn a_body_that_lies_about_its_size_or_its_end_does_so_as_it_would_without_us() {
    let lies: [Named<Script>; 5] = [
        ("more than it says", || Script::new().data("data:").data(" one\n\n").exact_size(5)),
        ("less than it says", || Script::new().data("data:").exact_size(11)),
        ("says that it is empty", || Script::new().data("data: one\n\n").exact_size(0)),
        ("says that it has ended", || Script::new().data("data: one\n\n").eos(Eos::Always)),
        ("does not know its end", || Script::new().data("data: one\n\n").eos(Eos::Never)),
    ];
    for wire in Wire::ALL {
        for (name, lie) in lies {
            let make = move || sse(lie());
            let bare = Server::start(wire.front(), answering(make)).await;
            for interval in [NEVER, Duration::from_millis(1)] {
                let stage = Stage::start(wire, interval, answering(make)).await;
                let ours = seen(wire, &stage.server).await;
                assert_eq!(ours, seen(wire, &bare).await, "{wire:?}: {name}");
            }
        }
    }
}
