//! Each answer that a head gives.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, response::Parts};
use http_body_util::{Empty, Full};
use testkit::{Eos, Script};

use super::{Framing, Media, is_malleable, is_tunnel};

#[test]
fn the_media_is_read_from_the_content_type_whatever_its_case_and_parameters() {
    let expect = [
        ("text/event-stream", Media::EventStream),
        ("Text/Event-Stream; charset=UTF-8", Media::EventStream),
        ("  text/event-stream ;charset=latin1", Media::EventStream),
        ("application/x-ndjson", Media::Ndjson),
        ("application/NDJSON;x=y", Media::Ndjson),
        ("application/jsonl", Media::Ndjson),
        ("application/grpc", Media::Grpc),
        ("application/grpc+proto", Media::Grpc),
        ("APPLICATION/GRPC+json; a=b", Media::Grpc),
        ("application/grpc-web", Media::Other),
        ("application/grpc-web+proto", Media::Other),
        ("application/grpcx", Media::Other),
        ("text/event-streams", Media::Other),
        ("text/event-stream, text/html", Media::Other),
        ("application/json", Media::Other),
        ("text/html; x=text/event-stream", Media::Other),
        ("", Media::Other),
        (";", Media::Other),
    ];
    for (value, media) in expect {
        assert_eq!(Media::of(&headers([("content-type", value)])), media, "{value:?}");
    }
    assert_eq!(Media::of(&HeaderMap::new()), Media::Other);
    let binary = HeaderValue::from_bytes(b"text/event-stream; x=\xff").unwrap();
    assert_eq!(
        Media::of(&HeaderMap::from_iter([(header::CONTENT_TYPE, binary)])),
        Media::EventStream
    );
}

#[test]
fn with_a_content_coding_the_bytes_are_not_the_medias_except_in_grpc() {
    for (coding, plain) in
        [("identity", true), (" Identity ", true), ("gzip", false), ("br, identity", false)]
    {
        for (media, name) in
            [(Media::EventStream, "text/event-stream"), (Media::Ndjson, "application/jsonl")]
        {
            let headers = headers([("content-type", name), ("content-encoding", coding)]);
            assert_eq!(Media::of(&headers), if plain { media } else { Media::Other }, "{coding}");
        }
        let headers = headers([("content-type", "application/grpc"), ("content-encoding", coding)]);
        assert_eq!(Media::of(&headers), Media::Grpc, "{coding}");
    }
    let mut two =
        headers([("content-type", "text/event-stream"), ("content-encoding", "identity")]);
    two.append(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    assert_eq!(Media::of(&two), Media::Other);
}

/// truths.md, "how to tell the end": method, status, Content-Length, and whether there is a body, and how long.
#[test]
fn the_framing_follows_the_table_of_the_algorithm() {
    let (get, head, connect) = (Method::GET, Method::HEAD, Method::CONNECT);
    let expect = [
        (&get, 200, None, false, None),
        (&get, 200, Some("5"), false, Some(5)),
        (&get, 200, Some(" 5 "), false, Some(5)),
        (&get, 200, Some("0"), true, Some(0)),
        (&get, 200, Some("five"), false, None),
        (&get, 200, Some("-1"), false, None),
        (&head, 200, Some("5"), true, Some(5)),
        (&head, 404, None, true, None),
        (&get, 100, None, true, None),
        (&get, 101, None, true, None),
        (&get, 103, None, true, None),
        (&get, 204, None, true, None),
        (&get, 304, Some("5"), true, Some(5)),
        (&get, 205, None, false, None), // hyper sends it: truths.md 1.
        (&get, 206, Some("5"), false, Some(5)),
        (&connect, 200, None, true, None),
        (&connect, 299, None, true, None),
        (&connect, 302, None, false, None),
        (&Method::POST, 500, None, false, None),
    ];
    for (method, status, length, no_body, expected) in expect {
        let head = parts(status, length.map(|length| ("content-length", length)));
        let framing = Framing::of(method, &head, &Script::new().data("x"));
        assert_eq!(
            (framing.no_body, framing.expected),
            (no_body, expected),
            "{method} {status} {length:?}"
        );
    }
}

#[test]
fn an_exact_size_goes_before_the_header() {
    let head = parts(200, [("content-length", "9")]);
    let framing = Framing::of(&Method::GET, &head, &Full::<Bytes>::from("hello"));
    assert_eq!((framing.no_body, framing.expected), (false, Some(5)));
    let framing = Framing::of(&Method::GET, &head, &Empty::<Bytes>::new());
    assert_eq!((framing.no_body, framing.expected), (true, Some(0)));
}

#[test]
fn a_body_without_a_head_says_itself_how_long_it_is() {
    let framing = |body: Script| {
        let framing = Framing::of_body(&body);
        (framing.no_body, framing.expected)
    };
    assert_eq!(framing(Script::new().data("x")), (false, None));
    assert_eq!(framing(Script::new().data("x").exact_size(1)), (false, Some(1)));
    assert_eq!(framing(Script::new().data("x").exact_size(0)), (true, Some(0)));
    assert_eq!(framing(Script::new()), (true, None));
    assert_eq!(framing(Script::new().eos(Eos::Never)), (false, None));
}

#[test]
fn a_tunnel_is_101_or_success_to_connect() {
    let expect = [
        (Method::GET, 101, true),
        (Method::CONNECT, 101, true),
        (Method::CONNECT, 200, true),
        (Method::CONNECT, 407, false),
        (Method::GET, 200, false),
        (Method::GET, 100, false),
    ];
    for (method, status, tunnel) in expect {
        assert_eq!(
            is_tunnel(&method, StatusCode::from_u16(status).unwrap()),
            tunnel,
            "{method} {status}"
        );
    }
}

/// protocol.md 1d.
#[test]
fn bytes_may_be_added_only_where_nothing_speaks_of_exactly_these_bytes() {
    let malleable = |method: Method, status, header| {
        is_malleable(&method, &parts(status, header), &Script::new().data("x"))
    };
    for status in [200, 201, 400, 500] {
        assert!(malleable(Method::GET, status, None), "{status}");
    }
    assert!(malleable(Method::POST, 200, Some(("content-type", "text/event-stream"))));
    assert!(malleable(Method::CONNECT, 400, None));
    for status in [100, 101, 204, 205, 206, 304] {
        assert!(!malleable(Method::GET, status, None), "{status}");
    }
    assert!(!malleable(Method::HEAD, 200, None));
    assert!(!malleable(Method::CONNECT, 200, None));
    for name in
        ["content-length", "content-digest", "repr-digest", "digest", "signature", "content-range"]
    {
        assert!(!malleable(Method::GET, 200, Some((name, "x"))), "{name}");
    }
    let head = parts(200, None);
    assert!(!is_malleable(&Method::GET, &head, &Full::<Bytes>::from("x")));
    assert!(!is_malleable(&Method::GET, &head, &Script::new()));
}

fn headers<'a>(pairs: impl IntoIterator<Item = (&'static str, &'a str)>) -> HeaderMap {
    let pair = |(name, value): (&'static str, &str)| {
        (header::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    };
    pairs.into_iter().map(pair).collect()
}

fn parts<'a>(status: u16, pairs: impl IntoIterator<Item = (&'static str, &'a str)>) -> Parts {
    let (mut head, ()) = Response::new(()).into_parts();
    head.status = StatusCode::from_u16(status).unwrap();
    head.headers = headers(pairs);
    head
}
