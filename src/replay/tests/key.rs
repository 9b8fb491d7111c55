//! Which requests are equal, and whose an answer is.

use bytes::Bytes;
use http::{HeaderName, Method, request::Parts};

use super::*;
use crate::replay::{Key, MakeKey};

fn key(request: Request<()>, body: &[&'static str]) -> Option<Key> {
    let body: Vec<_> = body.iter().map(|part| Bytes::from_static(part.as_bytes())).collect();
    RequestKey::new().key(&request.into_parts().0, &body)
}

fn request() -> Request<()> {
    Request::post("/a?b=c").header("accept", "text/event-stream").body(()).unwrap()
}

fn with(name: &'static str, value: &'static str) -> Request<()> {
    let mut request = request();
    request.headers_mut().append(name, value.parse().unwrap());
    request
}

#[test]
fn equal_requests_have_one_key_however_their_bodies_are_cut() {
    let one = key(request(), &["hello"]);
    assert!(one.is_some());
    assert_eq!(key(request(), &["he", "", "llo"]), one);
    assert_eq!(key(with("user-agent", "curl"), &["hello"]), one);
}

#[test]
fn whatever_tells_requests_apart_makes_another_key() {
    let uri = |uri: &str| {
        let mut request = request();
        *request.uri_mut() = uri.parse().unwrap();
        request
    };
    let mut get = request();
    *get.method_mut() = Method::GET;
    let mut all = vec![
        key(request(), &["hello"]),
        key(request(), &["hellp"]),
        key(request(), &[]),
        key(get, &["hello"]),
        key(uri("/b?b=c"), &["hello"]),
        key(uri("/a?b=d"), &["hello"]),
        key(uri("/a"), &["hello"]),
        key(uri("http://other/a?b=c"), &["hello"]),
        key(with("authorization", ""), &["hello"]),
        key(with("authorization", "hello"), &[]),
    ];
    for name in [
        "authorization",
        "proxy-authorization",
        "cookie",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "x-amz-security-token",
        "openai-organization",
        "openai-project",
        "openai-beta",
        "anthropic-version",
        "anthropic-beta",
        "host",
        "accept",
        "content-type",
        "content-encoding",
        "range",
    ] {
        all.push(key(with(name, "one"), &["hello"]));
        all.push(key(with(name, "two"), &["hello"]));
    }
    for (at, key) in all.iter().enumerate() {
        assert!(key.is_some() && !all[..at].contains(key), "number {at} is not the only one");
    }
}

#[test]
fn what_is_not_for_replays_has_no_key() {
    for method in [Method::PUT, Method::DELETE, Method::PATCH, Method::HEAD, Method::OPTIONS] {
        let mut request = request();
        *request.method_mut() = method;
        assert_eq!(key(request, &[]), None);
    }
    for fresh in ["no-cache", "max-age=0, No-Store"] {
        assert_eq!(key(with("cache-control", fresh), &[]), None);
    }
    assert!(key(with("cache-control", "max-age=0"), &[]).is_some());
}

#[test]
fn a_header_that_is_added_tells_requests_apart() {
    let made = RequestKey::new().header(HeaderName::from_static("x-tenant"));
    let key = |request: Request<()>| made.key(&request.into_parts().0, &[]);
    assert_ne!(key(with("x-tenant", "one")), key(with("x-tenant", "two")));
    assert_eq!(key(with("x-tenant", "one")), key(with("x-tenant", "one")));
}

#[test]
fn a_key_does_not_tell_what_it_is_made_of() {
    let key = Key::of(["secret"]);
    assert!(format!("{key:?}").len() < 12, "{key:?}");
    assert_eq!(key.as_bytes(), Key::of(["secret"]).as_bytes());
}

#[tokio::test]
async fn nobody_gets_what_another_with_other_credentials_was_answered() {
    for name in ["authorization", "cookie", "x-api-key", "api-key", "x-goog-api-key"] {
        let answers = ["of alice", "of bob", "of nobody"].map(|text| Script::new().data(text));
        let service = layer().layer(upstream(answers.map(text)));
        let request = |who: Option<&'static str>| {
            let mut request = post("/ask", "who am I?");
            if let Some(who) = who {
                request.headers_mut().insert(name, who.parse().unwrap());
            }
            request
        };
        for hit in [false, true] {
            for (who, answer) in
                [(Some("alice"), "of alice"), (Some("bob"), "of bob"), (None, "of nobody")]
            {
                let got = ask(&service, request(who)).await;
                assert_eq!(got.body.data, answer);
                assert_eq!(got.replayed == Some(Replayed::Hit), hit);
            }
        }
    }
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

#[test]
fn a_host_counts_wherever_it_is_named_and_two_of_them_are_none() {
    let key = |uri: &str, host: Option<&str>| {
        let mut request = Request::get(uri);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        RequestKey::new().key(&request.body(()).unwrap().into_parts().0, &[])
    };
    let named = key("/", Some("a"));
    assert!(named.is_some());
    assert_eq!(key("http://a/", None), named);
    assert_eq!(key("http://a/", Some("a")), named);
    assert_ne!(key("/", Some("b")), named);
    assert_eq!(key("http://a/", Some("b")), None);
}
