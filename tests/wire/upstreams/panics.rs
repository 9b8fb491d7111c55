//! Panics of the body and of the service: truths.md 5, faults.md 18 and 19. hyper catches none; the task of the h1
//! connection or of the h2 stream dies of it.

use std::convert::Infallible;

use axum::body::Body;
use http::{Request, Response, header};
use testkit::{Event, H1, H2, H2Next, How, Log, ReadEnd, Reason, Script, dechunk};
use tower::{ServiceBuilder, service_fn};
use tower_lifeline::{
    exchange::Outcome::{Completed, Panicked},
    final_frame::FinalFrameLayer,
    finalize::Ending,
};

use crate::server::{Endings, Front, LIMIT, Server, endings};

const EVENT: &str = "data: 1\n\n";
const INTERNAL: &str = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"upstream\",\"message\":\"internal error\",\"code\":\"panicked\"}}\n\n";

/// What stands outside of Finalize.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outside {
    Nothing,
    FinalFrame,
    FinalFramePropagating,
}

/// Panics as the path says: in the stream of an event stream or of a text, before the head, in the call; or not at all.
async fn serve(front: Front, outside: Outside, log: &Log) -> (Server, Endings) {
    let (tell, endings) = endings();
    let log = log.clone();
    let service = ServiceBuilder::new().layer(tell.layer()).service(service_fn(
        move |request: Request<Body>| {
            let path = request.uri().path().to_owned();
            assert!(path != "/call", "boom");
            let script = Script::new().log_into(&log);
            async move {
                assert!(path != "/future", "boom");
                let (media, body) = match &*path {
                    "/events" => ("text/event-stream", script.data(EVENT).pending().panic("boom")),
                    "/text" => ("text/plain", script.data(EVENT).pending().panic("boom")),
                    _ => ("text/plain", script.data(EVENT)),
                };
                let response = Response::builder().header(header::CONTENT_TYPE, media);
                Ok::<_, Infallible>(response.body(body).unwrap())
            }
        },
    ));
    let by_media = FinalFrameLayer::by_media();
    let server = match outside {
        Outside::Nothing => Server::start(front, service).await,
        Outside::FinalFrame => {
            Server::start(front, ServiceBuilder::new().layer(by_media).service(service)).await
        }
        Outside::FinalFramePropagating => {
            let propagating = by_media.propagate_panics();
            Server::start(front, ServiceBuilder::new().layer(propagating).service(service)).await
        }
    };
    (server, endings)
}

fn assert_panicked(ending: &Ending, status: Option<u16>) {
    assert_eq!((ending.outcome, ending.reason()), (Panicked, Some("boom")));
    assert_eq!(ending.status.map(|status| status.as_u16()), status);
}

/// Asks for this over a connection of its own. (No head and no byte where there was none.)
async fn ask_h1(server: &Server, path: &str) -> ReadEnd {
    let mut client = H1::connect(server.addr()).await.unwrap();
    client.get(path).await.unwrap();
    let head = client.read_head(LIMIT).await;
    if let Err(end) = head { end } else { client.read_to_end(LIMIT).await }
}

#[tokio::test]
async fn a_panic_in_the_body_cuts_its_h1_connection_and_is_told() {
    for outside in [Outside::Nothing, Outside::FinalFramePropagating] {
        for path in ["/events", "/text"] {
            let log = Log::new();
            let (server, endings) = serve(Front::H1, outside, &log).await;
            let end = ask_h1(&server, path).await;
            let body = dechunk(&end.bytes);
            assert_eq!((end.how, &*body.body, body.complete), (How::Fin, EVENT.as_bytes(), false));
            assert_panicked(&endings.only(server).await, Some(200));
            // Not while the thread unwinds, as it would without us: its own drop may panic too.
            assert_eq!(log.story().last(), Some(&Event::Dropped { panicking: false }));
        }
    }
}

#[tokio::test]
async fn a_panic_in_the_body_resets_its_h2_stream_and_no_other() {
    for outside in [Outside::Nothing, Outside::FinalFramePropagating] {
        let (server, mut endings) = serve(Front::H2, outside, &Log::new()).await;
        let mut client = H2::connect(server.addr()).await.unwrap();
        let (_, mut body) = client.request("GET", "/events", &[]).await.unwrap();
        assert_eq!(body.rest(LIMIT).await, (EVENT.into(), H2Next::Reset(Reason::CANCEL)));
        assert_panicked(&endings.next(LIMIT).await, Some(200));
        let (_, mut body) = client.request("GET", "/", &[]).await.unwrap();
        assert_eq!(body.rest(LIMIT).await, (EVENT.into(), H2Next::End));
        drop(client);
        assert_eq!(endings.only(server).await.outcome, Completed);
    }
}

#[tokio::test]
async fn with_a_final_frame_a_panic_in_an_event_stream_is_an_event_and_the_connection_lives() {
    let (server, endings) = serve(Front::H1, Outside::FinalFrame, &Log::new()).await;
    let mut client = H1::connect(server.addr()).await.unwrap();
    client.get("/events").await.unwrap();
    client.read_head(LIMIT).await.unwrap();
    let bytes = client.read_until(|bytes| dechunk(bytes).complete, LIMIT).await.unwrap();
    assert_eq!(dechunk(&bytes).body, [EVENT, INTERNAL].concat().as_bytes());
    client.get("/").await.unwrap();
    client.take();
    assert_eq!(client.read_head(LIMIT).await.unwrap().status(), Some(200));
    let mut endings = endings;
    assert_panicked(&endings.next(LIMIT).await, Some(200));
    assert_eq!(endings.only(server).await.outcome, Completed);

    let (server, endings) = serve(Front::H2, Outside::FinalFrame, &Log::new()).await;
    let mut client = H2::connect(server.addr()).await.unwrap();
    let (_, mut body) = client.request("GET", "/events", &[]).await.unwrap();
    assert_eq!(body.rest(LIMIT).await, ([EVENT, INTERNAL].concat().into(), H2Next::End));
    assert_panicked(&endings.only(server).await, Some(200));
}

#[tokio::test]
async fn with_a_final_frame_a_panic_in_another_body_is_an_error_of_it() {
    let (server, endings) = serve(Front::H1, Outside::FinalFrame, &Log::new()).await;
    let end = ask_h1(&server, "/text").await;
    let body = dechunk(&end.bytes);
    assert_eq!((end.how, &*body.body, body.complete), (How::Fin, EVENT.as_bytes(), false));
    assert_panicked(&endings.only(server).await, Some(200));

    let (server, endings) = serve(Front::H2, Outside::FinalFrame, &Log::new()).await;
    let mut client = H2::connect(server.addr()).await.unwrap();
    let (_, mut body) = client.request("GET", "/text", &[]).await.unwrap();
    assert_eq!(body.rest(LIMIT).await, (EVENT.into(), H2Next::Reset(Reason::INTERNAL_ERROR)));
    assert_panicked(&endings.only(server).await, Some(200));
}

#[tokio::test]
async fn a_panic_before_the_head_is_told_and_goes_on() {
    for path in ["/future", "/call"] {
        for outside in [Outside::Nothing, Outside::FinalFrame] {
            let (server, endings) = serve(Front::H1, outside, &Log::new()).await;
            let end = ask_h1(&server, path).await;
            assert_eq!(end, ReadEnd { bytes: Vec::new(), how: How::Fin });
            assert_panicked(&endings.only(server).await, None);

            let (server, endings) = serve(Front::H2, outside, &Log::new()).await;
            let mut client = H2::connect(server.addr()).await.unwrap();
            let end = client.request("GET", path, &[]).await.map(|(head, _)| head.status);
            assert_eq!(end, Err(H2Next::Reset(Reason::CANCEL)));
            assert_panicked(&endings.only(server).await, None);
        }
    }
}
