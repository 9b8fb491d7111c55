//! Clients that leave: truths.md 2 and 3, faults.md 1 to 6 and 9.

mod departed;
mod stalled;
mod unnoticed;

use std::{convert::Infallible, future::pending, time::Duration};

use axum::body::Body;
use http::{Request, Response, header};
use testkit::{Event, H1, Log, Script};
use tokio::time::{Instant, sleep, timeout};
use tower::{ServiceBuilder, service_fn};
use tower_lifeline::{
    exchange::Outcome,
    finalize::Ending,
    keepalive::IdleKeepaliveLayer,
    tee::{Limit, Recording, TeeLayer},
};

use crate::server::{Endings, Front, LIMIT, Server, endings};

/// How an HTTP/1 client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    Fin,
    Reset,
    /// It says that it sends nothing more, and reads on.
    HalfClose,
}

impl Leave {
    const ALL: [Self; 3] = [Self::Fin, Self::Reset, Self::HalfClose];

    /// Gives the client back if there still is one.
    async fn go(self, mut client: H1) -> Option<H1> {
        match self {
            Self::Fin => client.close().await,
            Self::Reset => client.reset(),
            Self::HalfClose => {
                client.half_close().await.unwrap();
                return Some(client);
            }
        }
        None
    }
}

/// Serves what `handler` answers, watched and taped; with heartbeats if there is an interval for them.
async fn serve<H, F>(front: Front, keepalive: Option<Duration>, handler: H) -> (Server, Endings)
where
    H: Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Script>> + Send + 'static,
{
    let (tell, endings) = endings();
    let handler = service_fn(move |request| {
        let response = handler(request);
        async { Ok::<_, Infallible>(response.await) }
    });
    let tee = TeeLayer::recording(Limit::first(1024));
    let watched = ServiceBuilder::new().layer(tell.layer()).layer(tee).service(handler);
    let server = match keepalive {
        None => Server::start(front, watched).await,
        Some(interval) => {
            let keepalive = IdleKeepaliveLayer::new(interval);
            Server::start(front, ServiceBuilder::new().layer(keepalive).service(watched)).await
        }
    };
    (server, endings)
}

/// Serves this event stream to every request.
async fn stream(
    front: Front,
    log: &Log,
    play: impl Fn(Script) -> Script + Clone + Send + Sync + 'static,
) -> (Server, Endings) {
    let log = log.clone();
    serve(front, None, move |_| {
        let response = events(play(Script::new().log_into(&log)));
        async { response }
    })
    .await
}

/// Serves nothing: no call ever comes to a head. Notes when it was called and when that was given up.
async fn silence(front: Front, log: &Log) -> (Server, Endings) {
    struct Waiting(Log);
    impl Drop for Waiting {
        fn drop(&mut self) {
            self.0.note("given up");
        }
    }
    let log = log.clone();
    serve(front, None, move |_| {
        log.note("called");
        let waiting = Waiting(log.clone());
        async {
            let _waiting = waiting;
            pending().await
        }
    })
    .await
}

async fn noted(log: &Log, what: &str) -> Instant {
    let noted = log.first(|event| *event == Event::Note(what.into()));
    timeout(LIMIT, noted).await.expect(what)
}

/// Waits until nothing more is taken from the body.
async fn until_blocked(log: &Log) {
    let blocked = async {
        let mut polls = 0;
        while polls == 0 || log.polls() > polls {
            polls = log.polls();
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LIMIT, blocked).await.expect("more and more is taken");
}

fn events(body: Script) -> Response<Script> {
    Response::builder().header(header::CONTENT_TYPE, "text/event-stream").body(body).unwrap()
}

/// Connects, asks, and reads the head and the first event.
async fn first_event(server: &Server, request: &str) -> H1 {
    let mut client = H1::connect(server.addr()).await.unwrap();
    client.send(request).await.unwrap();
    client.read_head(LIMIT).await.unwrap();
    client.read_until(|bytes| bytes.ends_with(b"\n\n\r\n"), LIMIT).await.unwrap();
    client
}

const GET: &str = "GET / HTTP/1.1\r\nhost: test\r\n\r\n";

/// The client left, and the tee has exactly what was handed on.
fn assert_left_after(ending: &Ending, handed_on: &str) {
    assert_eq!(
        (ending.outcome, ending.status),
        (Outcome::Disconnected, Some(http::StatusCode::OK))
    );
    assert_eq!(ending.bytes, handed_on.len() as u64);
    let tape = ending.exchange.fact::<Recording>().unwrap();
    assert_eq!((&*tape.to_bytes(), tape.total()), (handed_on.as_bytes(), ending.bytes));
    assert_eq!((tape.outcome(), tape.is_truncated()), (Some(Outcome::Disconnected), false));
}
