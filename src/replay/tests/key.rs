//! Which requests are equal, and whose an answer is.

use std::collections::HashSet;

use bytes::Bytes;
use http::{HeaderName, Method, request::Parts};
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::replay::{Key, MakeKey};

const CHAT: &str = "/v1/chat/completions";

fn key_of(made: &RequestKey, request: Request<()>, body: &[&'static str]) -> Option<Key> {
    let body: Vec<_> = body.iter().map(|part| Bytes::from_static(part.as_bytes())).collect();
    made.key(&request.into_parts().0, &body)
}

fn key(request: Request<()>, body: &[&'static str]) -> Option<Key> {
    key_of(&RequestKey::new(), request, body)
}

fn to(path: &str) -> Request<()> {
    Request::post(path).header("accept", "text/event-stream").body(()).unwrap()
}

fn with(name: &str, value: &str) -> Request<()> {
    let mut request = to(CHAT);
    request.headers_mut().append(HeaderName::try_from(name).unwrap(), value.parse().unwrap());
    request
}

#[test]
fn equal_requests_have_one_key_however_their_bodies_are_cut_and_their_headers_are_ordered() {
    let one = key(to(CHAT), &["{\"a\":1}"]);
    assert!(one.is_some());
    assert_eq!(key(to(CHAT), &["{\"a", "", "\":1}"]), one);
    let ordered = |names: [&'static str; 3]| {
        let mut request = to(CHAT);
        for name in names {
            request.headers_mut().append(name, name.parse().unwrap());
        }
        key(request, &["{}"])
    };
    assert_eq!(ordered(["x-a", "cookie", "x-b"]), ordered(["x-b", "x-a", "cookie"]));
}

/// The closed list, as the contract has it.
const IGNORED: [&str; 34] = [
    "connection",
    "keep-alive",
    "te",
    "content-length",
    "date",
    "user-agent",
    "via",
    "expect",
    "traceparent",
    "tracestate",
    "baggage",
    "b3",
    "x-b3-traceid",
    "x-b3-sampled",
    "x-request-id",
    "x-correlation-id",
    "x-client-request-id",
    "x-ms-client-request-id",
    "request-id",
    "x-amzn-trace-id",
    "x-cloud-trace-context",
    "cf-ray",
    "x-request-start",
    "sentry-trace",
    "x-datadog-trace-id",
    "x-datadog-parent-id",
    "uber-trace-id",
    "x-envoy-attempt-count",
    "x-envoy-expected-rq-timeout-ms",
    "x-stainless-lang",
    "x-stainless-retry-count",
    "X-Stainless-Timeout",
    "X-B3-SpanId",
    "User-Agent",
];

#[test]
fn the_headers_of_the_closed_list_are_in_no_key() {
    let without = key(to(CHAT), &["{}"]);
    for name in IGNORED {
        for value in ["one", "two"] {
            assert_eq!(key(with(name, value), &["{}"]), without, "{name}: {value}");
        }
    }
}

#[test]
fn every_other_header_is_in_the_key_known_or_not() {
    // No member of their bodies is looked for, so that a content coding is a header as any other.
    let of = |name: &str, value: &str| {
        let mut request = with(name, value);
        *request.uri_mut() = "/embeddings".parse().unwrap();
        key(request, &["{}"])
    };
    let mut keys = HashSet::from([key(to("/embeddings"), &["{}"]), None]);
    for name in [
        "authorization",
        "proxy-authorization",
        "cookie",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "x-goog-user-project",
        "x-amz-security-token",
        "ocp-apim-subscription-key",
        "openai-organization",
        "openai-project",
        "openai-beta",
        "anthropic-version",
        "anthropic-beta",
        "mcp-session-id",
        "x-forwarded-user",
        "x-forwarded-for",
        "x-forwarded-host",
        "forwarded",
        "x-real-ip",
        "cf-connecting-ip",
        "accept-encoding",
        "accept-language",
        "content-type",
        "content-encoding",
        "range",
        "origin",
        "x-nobody-knows",
        // Like those that are ignored, and none of them.
        "b3-x",
        "x-b3",
        "x-datadog",
        "x-stainless",
        "x-request-identity",
        "x-user-agent",
        "authority",
    ] {
        for value in ["", "one", "two"] {
            let is_new = keys.insert(of(name, value));
            assert!(is_new, "{name}: {value} makes no key of its own");
        }
    }
}

#[test]
fn whatever_else_tells_requests_apart_makes_another_key() {
    let uri = |uri: &str| {
        let mut request = to(CHAT);
        *request.uri_mut() = uri.parse().unwrap();
        request
    };
    let made = RequestKey::new().also(Method::GET, "/");
    let mut get = to(CHAT);
    *get.method_mut() = Method::GET;
    let mut all = vec![
        key(to(CHAT), &["{}"]),
        key(to(CHAT), &["{ }"]),
        key(to(CHAT), &["{\"hello\":1}"]),
        key_of(&made, get, &["{}"]),
        key(uri("/chat/completions"), &["{}"]),
        key(uri("/v1/chat/completions?b=d"), &["{}"]),
        key(uri("/v1/chat/completions?"), &["{}"]),
        key(uri("/v1/chat/completions/"), &["{}"]),
        key(uri("http://a/v1/chat/completions"), &["{}"]),
        key(uri("http://b/v1/chat/completions"), &["{}"]),
        key(uri("http://a:80/v1/chat/completions"), &["{}"]),
    ];
    // Values have bounds, and an order.
    for values in
        [&["a", "b"][..], &["b", "a"], &["ab"], &["a, b"], &["a", "b", ""], &[""], &["", ""]]
    {
        let mut request = to(CHAT);
        for value in values {
            request.headers_mut().append("x-a", value.parse().unwrap());
        }
        all.push(key(request, &["{}"]));
    }
    for (at, key) in all.iter().enumerate() {
        assert!(key.is_some() && !all[..at].contains(key), "number {at} is not the only one");
    }
}

proptest! {
    #[test]
    fn requests_of_other_headers_or_bodies_have_other_keys(
        one in vec(("[ab-]{1,3}", "[ab]{0,3}"), 0..4),
        other in vec(("[ab-]{1,3}", "[ab]{0,3}"), 0..4),
        body in "[ab]{0,3}",
        other_body in "[ab]{0,3}",
    ) {
        let request = |fields: &[(String, String)]| {
            let mut request = Request::post("/embeddings").body(()).unwrap();
            for (name, value) in fields {
                let name = HeaderName::try_from(name.as_str()).unwrap();
                request.headers_mut().append(name, value.parse().unwrap());
            }
            request.into_parts().0
        };
        let key = |head: &Parts, body: &str| {
            RequestKey::new().key(head, &[Bytes::copy_from_slice(body.as_bytes())])
        };
        let (head, other_head) = (request(&one), request(&other));
        let equal = head.headers == other_head.headers && body == other_body;
        prop_assert_eq!(key(&head, &body) == key(&other_head, &other_body), equal);
    }
}

#[test]
fn a_header_that_is_taken_out_makes_no_difference_and_no_other_is() {
    let made = RequestKey::new().ignore(HeaderName::from_static("x-forwarded-for"));
    let key = |name: &str, value: &str| key_of(&made, with(name, value), &["{}"]);
    assert_eq!(key("X-Forwarded-For", "192.0.2.1"), key("x-forwarded-for", "192.0.2.2"));
    assert_eq!(key("x-forwarded-for", "192.0.2.1"), key_of(&made, to(CHAT), &["{}"]));
    assert_ne!(key("x-forwarded-user", "a"), key("x-forwarded-user", "b"));
}

#[test]
fn what_is_asked_for_afresh_or_once_or_as_another_protocol_has_no_key() {
    for (name, value) in [
        ("cache-control", "no-cache"),
        ("cache-control", "max-age=0, No-Store"),
        ("idempotency-key", "1"),
        ("Idempotency-Key", ""),
        ("upgrade", "websocket"),
    ] {
        assert_eq!(key(with(name, value), &["{}"]), None, "{name}: {value}");
    }
    assert!(key(with("cache-control", "max-age=0"), &["{}"]).is_some());
}

#[test]
fn a_header_that_connection_takes_away_leaves_no_key() {
    // The service would not see what the key says.
    for named in ["x-tenant", "close, X-Tenant"] {
        let mut request = with("connection", named);
        assert!(key(request.clone(), &["{}"]).is_some(), "it takes away nothing");
        request.headers_mut().append("x-tenant", "a".parse().unwrap());
        assert_eq!(key(request, &["{}"]), None, "{named}");
    }
    let mut request = with("connection", "keep-alive, te");
    request.headers_mut().append("te", "trailers".parse().unwrap());
    assert_eq!(key(request, &["{}"]), key(to(CHAT), &["{}"]));
}

#[test]
fn a_cookie_is_one_however_http2_has_split_it() {
    let mut split = with("cookie", "a=1");
    split.headers_mut().append("cookie", "b=2".parse().unwrap());
    assert_eq!(key(split, &["{}"]), key(with("cookie", "a=1; b=2"), &["{}"]));
}

#[test]
fn a_key_does_not_tell_what_it_is_made_of() {
    let key = Key::of(["secret"]);
    assert!(format!("{key:?}").len() < 12, "{key:?}");
    assert_eq!(key.as_bytes(), Key::of(["secret"]).as_bytes());
    assert_eq!(Key::from_bytes(*key.as_bytes()), key);
}

#[test]
fn a_host_counts_wherever_it_is_named_and_two_of_them_are_none() {
    let key = |uri: &str, hosts: &[&str]| {
        let mut request = Request::post(uri).body(()).unwrap();
        for host in hosts {
            request.headers_mut().append("host", host.parse().unwrap());
        }
        key(request, &["{}"])
    };
    let named = key("/embeddings", &["a"]);
    assert!(named.is_some());
    assert_eq!(key("http://a/embeddings", &[]), named);
    assert_eq!(key("http://a/embeddings", &["a"]), named);
    assert_ne!(key("/embeddings", &["b"]), named);
    assert_ne!(key("/embeddings", &[]), named);
    assert_ne!(key("/embeddings", &["a", "b"]), named);
    assert_eq!(key("http://a/embeddings", &["b"]), None);
}

/// Whether each of these gets the answer of its own, in turn and then again.
async fn gets_his_own<const N: usize>(requests: [impl Fn() -> Request<Script>; N]) -> bool {
    let answers = (0..N).map(|n| text(Script::new().data(n.to_string())));
    let service = layer().layer(upstream(answers));
    for replayed in [Replayed::Miss, Replayed::Hit] {
        for (n, request) in requests.iter().enumerate() {
            let got = ask(&service, request()).await;
            if got.body.data != n.to_string() || got.replayed != Some(replayed) {
                return false;
            }
        }
    }
    true
}

#[tokio::test]
async fn nobody_gets_what_another_was_answered_whatever_tells_them_apart() {
    for name in [
        "authorization",
        "cookie",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "mcp-session-id",
        "openai-organization",
        "openai-project",
        "anthropic-beta",
        "anthropic-version",
        "x-forwarded-user",
        "x-nobody-knows",
        "accept-encoding",
    ] {
        let asked_by = [Some("alice"), Some("bob"), None].map(|who| {
            move || {
                let mut request = post(CHAT, "{}");
                if let Some(who) = who {
                    request.headers_mut().insert(name, who.parse().unwrap());
                }
                request
            }
        });
        assert!(gets_his_own(asked_by).await, "{name}");
    }
    let hosts = ["http://a/embeddings", "http://b/embeddings"];
    assert!(gets_his_own(hosts.map(|uri| move || post(uri, "who am I?"))).await);
}

#[tokio::test]
async fn a_function_is_a_key_and_may_say_none() {
    let by_path = |request: &Parts, _: &[Bytes]| {
        (request.uri.path() != "/none").then(|| Key::of([request.uri.path()]))
    };
    let layer = ReplayLayer::new(MemoryStore::new(1 << 20, HOUR), by_path);
    let service = layer.layer(upstream(["1", "2", "3"].map(|n| text(Script::new().data(n)))));
    assert_eq!(ask(&service, post("/a", "x")).await.body.data, "1");
    assert_eq!(ask(&service, post("/a", "y")).await.body.data, "1");
    for answer in ["2", "3"] {
        let got = ask(&service, post("/none", "x")).await;
        assert_eq!((got.replayed, &*got.body.data), (None, answer.as_bytes()));
    }
}

#[tokio::test]
async fn a_request_that_can_have_no_key_reaches_the_service_before_its_body_is_there() {
    let layer = ReplayLayer::new(MemoryStore::new(1 << 20, HOUR), RequestKey::new());
    for (path, waits) in [(CHAT, true), ("/mcp", false), ("/v1/files", false)] {
        let service = layer.clone().layer(upstream([text(Script::new().data("at once"))]));
        let upload = Script::new().data("{").stall().exact_size(2);
        let mut request = Request::post(path).body(upload).unwrap();
        request.headers_mut().insert("content-length", 2.into());
        let answer = tokio::time::timeout(Duration::from_millis(50), service.oneshot(request));
        assert_eq!(answer.await.is_err(), waits, "{path}");
    }
}
