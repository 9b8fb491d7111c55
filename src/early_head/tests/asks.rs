//! What the body of a request says, in whatever pieces it comes.

use bytes::Bytes;
use tower::ServiceBuilder;

use super::*;
use crate::{
    early_head::{AsksForStream, WantsStream, asks_for_event_stream},
    tee::{Sink, TeeBody, TeeRequestLayer},
};

/// What a body says that comes in these pieces.
fn pieces<'a>(body: impl IntoIterator<Item = &'a [u8]>) -> bool {
    let mut request = Request::new(());
    let exchange = Exchange::of(&mut request);
    let mut sink = AsksForStream::sink(&request.into_parts().0);
    for piece in body {
        sink.data(Bytes::copy_from_slice(piece));
    }
    exchange.fact::<AsksForStream>().unwrap().get()
}

fn asks(body: impl AsRef<[u8]>) -> bool {
    let body = body.as_ref();
    let whole = pieces([body]);
    let label = String::from_utf8_lossy(&body[..body.len().min(100)]);
    assert_eq!(pieces(body.chunks(1)), whole, "a byte at a time: {label}");
    if body.len() < 200 {
        for cut in 0..=body.len() {
            let (first, second) = body.split_at(cut);
            assert_eq!(pieces([first, second]), whole, "cut at {cut}: {label}");
        }
    }
    whole
}

#[test]
fn a_body_that_says_so_asks_for_a_stream_wherever_it_says_it() {
    for body in [
        r#"{"stream":true}"#,
        r#" { "stream" : true , "model":"m"}"#,
        r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}"#,
        r#"{"model":"m","n":-1.5e3,"b":false,"z":null,"o":{},"a":[],"stream":true,"t":"}"}"#,
        r#"{"stream":false,"stream":true}"#,
        r#"{"a":"\\","b":"\"","c":"\u005c\u0022","stream":true}"#,
        r#"{"a":{"b":["}","]","\"]",{"c":"\\"}]},"stream":true}"#,
        "{\"str\\u0065am\":\ttrue\r\n}",
        r#"{"\u0073\u0074\u0072\u0065\u0061\u006D":true}"#,
        r#"{"stream":true,"n":1} and more"#,
        "{\"a\":\"\u{e9}\u{1f600}\",\"stream\":true}",
        "\u{feff}{\"stream\":true}",
        r#"{"temperature":NaN,"stream":true}"#,
    ] {
        assert!(asks(body), "{body}");
    }
}

#[test]
fn a_body_that_does_not_say_so_does_not() {
    for body in [
        "",
        "{}",
        "true",
        "[true]",
        r#"[{"stream":true}]"#,
        r#""stream""#,
        r#"{"stream":false}"#,
        r#"{"stream":null}"#,
        r#"{"stream":1}"#,
        r#"{"stream":"true"}"#,
        r#"{"stream":[true]}"#,
        r#"{"stream":{"stream":true}}"#,
        r#"{"stream":truetrue}"#,
        r#"{"stream":tru"#,
        r#"{"Stream":true}"#,
        r#"{"streams":true}"#,
        r#"{"strea":true}"#,
        r#"{"stream ":true}"#,
        r#"{"\u0173tream":true}"#,
        r#"{"stre\u0000am":true}"#,
        r#"{"s\tream":true}"#,
        r#"{"options":{"stream":true}}"#,
        r#"{"a":[{"stream":true}]}"#,
        r#"{"a":[{"b":{"stream":true}},[[{"stream":true}]]]}"#,
        r#"{"messages":["stream",true]}"#,
        r#"{"prompt":"\"stream\":true"}"#,
        r#"{"prompt":"\",\"stream\":true,\""}"#,
        r#"{"a\":1,\"stream":true}"#,
        r#"{"stream":true,"stream":false}"#,
        r#"{"stream":true,"stream":"no"}"#,
        r#"{"stream":true,"stream":{}}"#,
        r#"{"a":1}{"stream":true}"#,
        r#"{"a" "stream":true}"#,
        r#"{"a":1 "stream":true}"#,
        "stream=true",
        "--boundary\r\n\r\n{\"stream\":true}",
    ] {
        assert!(!asks(body), "{body}");
    }
    assert!(!asks(b"\xff{\"stream\":true}"));
}

#[test]
fn what_is_behind_it_may_be_no_json_at_all() {
    for rest in [",", ",x", ",\"a\":}", ",\"a\":\"\u{0}", ",\"a\":nul", "]"] {
        assert!(asks(format!(r#"{{"stream":true{rest}"#)), "{rest}");
    }
    assert!(asks(b"{\"stream\":true,\"a\":\"\xff\xfe"));
}

#[test]
fn it_is_found_behind_any_number_of_bytes_and_at_any_depth() {
    for length in [64 * 1024, 200 * 1024, 10 * 1024 * 1024] {
        let messages = r#"{"role":"user","content":"\"stream\":false, \\"},"#.repeat(length / 48);
        let body = format!(r#"{{"messages":[{messages}{{}}],"stream":true}}"#);
        assert!(body.len() > length - 64);
        assert!(pieces(body.as_bytes().chunks(8191)));
        let body = format!(r#"{{"messages":[{messages}{{"stream":true}}],"stream":false}}"#);
        assert!(!pieces(body.as_bytes().chunks(8191)));
    }
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    assert!(asks(format!(r#"{{"a":{deep},"stream":true}}"#)));
    assert!(asks(format!(r#"{{"{}":1,"stream":true}}"#, "k".repeat(100_000))));
    assert!(asks(format!(r#"{{"n":{},"stream":true}}"#, "1".repeat(100_000))));
    assert!(!asks(format!(r#"{{"stream{}":true}}"#, "m".repeat(100_000))));
}

#[test]
fn what_is_kept_of_a_body_has_a_fixed_size() {
    let sink = AsksForStream::sink(&Request::new(()).into_parts().0);
    assert!(size_of_val(&sink) <= 256, "{}", size_of_val(&sink));
}

/// Whether a request with these is taken for one that asks for a stream, before its body was read and after.
async fn of_request(accept: &str, body: &'static str) -> [bool; 2] {
    let service = TeeRequestLayer::new(AsksForStream::sink).layer(service_fn(
        |request: Request<TeeBody<Script, _>>| async {
            let (head, body) = request.into_parts();
            let mut asks = asks_for_event_stream(&head);
            let before = asks.wants_stream();
            drain(body).await;
            Ok::<_, Infallible>([before, asks.wants_stream()])
        },
    ));
    let request = Request::post("/").header(header::ACCEPT, accept);
    service.oneshot(request.body(Script::new().data(body)).unwrap()).await.unwrap()
}

#[tokio::test]
async fn the_body_asks_whatever_accept_says_and_accept_where_it_does_not() {
    let (yes, no, other) = (r#"{"stream":true}"#, r#"{"stream":false}"#, r#"{"method":"x"}"#);
    for (accept, body, expect) in [
        ("application/json", yes, [false, true]),
        ("*/*", yes, [false, true]),
        ("application/json, text/event-stream", yes, [false, true]),
        ("text/event-stream", yes, [true, true]),
        ("text/event-stream", no, [true, true]),
        ("text/event-stream", other, [true, true]),
        ("text/event-stream", "", [true, true]),
        ("application/json, text/event-stream", other, [false, false]),
        ("application/json, text/event-stream", no, [false, false]),
        ("*/*", other, [false, false]),
    ] {
        assert_eq!(of_request(accept, body).await, expect, "{accept} {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_layer_asks_the_body_by_itself_where_that_is_read() {
    for (stream, expect) in [(true, AFTER), (false, LATE)] {
        let service = ServiceBuilder::new()
            .layer(EarlyHeadLayer::new(AFTER))
            .layer(TeeRequestLayer::new(AsksForStream::sink))
            .service(service_fn(|request: Request<TeeBody<Script, _>>| async {
                drain(request.into_body()).await;
                sleep(LATE).await;
                Answer::Ok(Response::new(Script::new()))
            }));
        let body = Script::new().data(r#"{"messages":[],"#).data(format!(r#""stream":{stream}}}"#));
        let start = Instant::now();
        service.oneshot(Request::new(body)).await.unwrap();
        assert_eq!(start.elapsed(), expect, "{stream}");
    }
}
