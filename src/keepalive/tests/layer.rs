//! Where the layer sends heartbeats, and where it stands aside (protocol.md 1d).

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, Version, header::HeaderName};
use http_body::Body;
use http_body_util::BodyExt;
use testkit::{Script, ScriptError};
use tokio::time::timeout;
use tower::{Layer, ServiceExt, service_fn};

use super::{COMMENT, SECOND};
use crate::keepalive::{Heartbeat, IdleKeepaliveLayer};

/// What a client gets after the first frame of an endless pause.
struct Case {
    method: Method,
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: Script,
}

impl Case {
    fn new(media: &'static str) -> Self {
        let body = Script::new().data("data: half").stall();
        Self { method: Method::GET, status: 200, headers: vec![("content-type", media)], body }
    }

    fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    fn response(self) -> (Method, Response<Script>) {
        let mut response = Response::builder().status(self.status);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        (self.method, response.body(self.body).unwrap())
    }

    /// The data frames of the first ten seconds, with a heartbeat due in each, and what the head said.
    async fn frames(self, heartbeat: Option<Heartbeat>) -> Vec<Bytes> {
        let (method, response) = self.response();
        let (head, hint) = (response.headers().clone(), response.body().size_hint().exact());
        let response = Mutex::new(Some(response));
        let service = service_fn(|_: Request<()>| async {
            Ok::<_, ScriptError>(response.lock().unwrap().take().unwrap())
        });
        let request = Request::builder().method(method).body(()).unwrap();
        let layer = IdleKeepaliveLayer::new(SECOND);
        let response = match heartbeat {
            None => layer.layer(service).oneshot(request).await.unwrap(),
            Some(heartbeat) => {
                let layer = layer.heartbeat(|_| {
                    let heartbeat = heartbeat.clone();
                    move |_| heartbeat
                });
                layer.layer(service).oneshot(request).await.unwrap()
            }
        };
        assert_eq!(*response.headers(), head, "no header is touched");
        let mut body = response.into_body();
        if hint.is_some() {
            assert_eq!(body.size_hint().exact(), hint);
        }
        let mut frames = Vec::new();
        let all = async {
            while let Some(frame) = body.frame().await {
                frames.push(frame.unwrap().into_data().unwrap());
            }
        };
        let _ = timeout(SECOND * 21 / 2, all).await;
        frames
    }
}

#[tokio::test(start_paused = true)]
async fn by_default_sse_gets_comments_and_ndjson_spaces() {
    for media in ["text/event-stream", "Text/Event-Stream; charset=utf-8"] {
        assert_eq!(Case::new(media).frames(None).await, [COMMENT; 10], "{media}");
    }
    for media in ["application/x-ndjson", "application/ndjson", "application/jsonl"] {
        let case = Case { body: Script::new().data("{\"half").stall(), ..Case::new(media) };
        assert_eq!(case.frames(None).await, [" "; 10], "{media}");
    }
    for status in [200, 201, 400, 503] {
        let case = Case { status, ..Case::new("text/event-stream") };
        assert_eq!(case.frames(None).await.len(), 10, "{status}");
    }
    let case = Case { method: Method::POST, ..Case::new("text/event-stream") };
    assert_eq!(case.header("content-encoding", "identity").frames(None).await.len(), 10);
}

async fn stands_aside(name: &str, case: Case, heartbeat: Option<Heartbeat>) {
    // Handed on as it came: not even the unfinished event is held back.
    assert_eq!(case.frames(heartbeat).await, ["data: half"], "{name}");
}

#[tokio::test(start_paused = true)]
async fn it_stands_aside_where_a_header_speaks_of_exactly_these_bytes() {
    for (name, value) in [
        ("content-length", "100"),
        ("content-encoding", "gzip"),
        ("content-encoding", "br"),
        ("content-digest", "sha-256=:x:"),
        ("repr-digest", "sha-256=:x:"),
        ("digest", "sha-256=x"),
        ("signature", "sig1=:x:"),
        ("content-range", "bytes 0-9/100"),
    ] {
        stands_aside(name, Case::new("text/event-stream").header(name, value), None).await;
    }
}

#[tokio::test(start_paused = true)]
async fn it_stands_aside_where_the_status_or_the_method_has_no_body_or_part_of_one() {
    for status in [100, 101, 103, 204, 205, 206, 304] {
        let case = Case { status, ..Case::new("text/event-stream") };
        stands_aside(&status.to_string(), case, None).await;
    }
    for method in [Method::HEAD, Method::CONNECT] {
        let name = method.to_string();
        stands_aside(&name, Case { method, ..Case::new("text/event-stream") }, None).await;
    }
}

#[tokio::test(start_paused = true)]
async fn it_stands_aside_for_a_body_of_exact_size() {
    let body = Script::new().data("data: half").stall().exact_size(100);
    stands_aside("exact", Case { body, ..Case::new("text/event-stream") }, None).await;
}

#[tokio::test(start_paused = true)]
async fn it_stands_aside_for_grpc_and_for_media_that_it_does_not_know() {
    let medias = [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc-web",
        "application/json",
        "",
    ];
    for media in medias {
        stands_aside(media, Case::new(media), None).await;
        stands_aside(media, Case::new(media), Some(Heartbeat::comment())).await;
        stands_aside(media, Case::new(media), Some(Heartbeat::space())).await;
    }
}

#[tokio::test(start_paused = true)]
async fn it_stands_aside_for_media_that_the_heartbeat_is_not_made_for() {
    let (events, lines) = ("text/event-stream", "application/x-ndjson");
    for heartbeat in [Heartbeat::comment(), Heartbeat::anthropic_ping(), Heartbeat::blank_line()] {
        stands_aside(lines, Case::new(lines), Some(heartbeat)).await;
    }
    stands_aside(events, Case::new(events), Some(Heartbeat::space())).await;
    stands_aside(events, Case::new(events), Some(Heartbeat::none())).await;
    let own = Heartbeat::lines("x\n".into());
    stands_aside(events, Case::new(events), Some(own)).await;
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_is_chosen_by_the_request_and_then_by_the_head() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let layer = IdleKeepaliveLayer::new(SECOND).heartbeat(|request: &http::request::Parts| {
        let (path, seen) = (request.uri.path().to_owned(), seen.clone());
        move |head: &http::response::Parts| {
            seen.lock().unwrap().push((path, head.status.as_u16(), head.version));
            Heartbeat::blank_line()
        }
    });
    let service = layer.layer(service_fn(|_: Request<()>| async {
        let body = Script::new().stall();
        let mut response =
            Response::builder().status(202).version(Version::HTTP_2).body(body).unwrap();
        let (name, media) = ("content-type", "text/event-stream");
        response
            .headers_mut()
            .insert(HeaderName::from_static(name), HeaderValue::from_static(media));
        Ok::<_, ScriptError>(response)
    }));
    let request = Request::get("/v1/x?y").body(()).unwrap();
    let mut body = service.oneshot(request).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "\n");
    assert_eq!(*seen.lock().unwrap(), [("/v1/x".to_owned(), 202, Version::HTTP_2)]);
}

#[tokio::test]
async fn an_error_of_the_service_goes_on_to_the_caller() {
    let layer = IdleKeepaliveLayer::new(SECOND);
    let service = layer.layer(service_fn(|_: Request<()>| async {
        Err::<Response<Script>, _>(ScriptError::new("refused"))
    }));
    assert_eq!(service.oneshot(Request::new(())).await.unwrap_err().to_string(), "refused");
}
