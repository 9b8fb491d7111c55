use http::{HeaderMap, Method, Request, Version};
use http_body_util::{Empty, Full};
use hyper::upgrade::{self, OnUpgrade};

use super::{client_side, say};

/// Whether a request of this kind gives its client's side up.
fn is_one(method: Method, version: Version, headers: &[(&str, &str)], body: &'static str) -> bool {
    let mut request = Request::builder().method(method).version(version).uri("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    // What hyper leaves in the request; one that leads nowhere.
    let nowhere: OnUpgrade = upgrade::on(http::Response::new(()));
    let mut request = request.extension(nowhere).body(Full::<bytes::Bytes>::from(body)).unwrap();
    client_side(&mut request).is_some()
}

#[test]
fn a_websocket_is_asked_for_by_get_over_http1_1_and_no_body() {
    let asks = [("connection", "upgrade"), ("upgrade", "websocket")];
    assert!(is_one(Method::GET, Version::HTTP_11, &asks, ""));
    assert!(!is_one(Method::POST, Version::HTTP_11, &asks, ""));
    assert!(!is_one(Method::GET, Version::HTTP_10, &asks, ""));
    assert!(!is_one(Method::GET, Version::HTTP_2, &asks, ""));
    assert!(!is_one(Method::GET, Version::HTTP_11, &asks, "body"));
    let mut elsewhere = Request::new(Empty::<bytes::Bytes>::new());
    *elsewhere.headers_mut() = HeaderMap::from_iter(
        asks.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())),
    );
    assert!(client_side(&mut elsewhere).is_none(), "no connection to upgrade");
}

#[test]
fn a_websocket_is_found_among_others_in_any_case_and_nothing_else_is() {
    for (connection, to, found) in [
        ("Upgrade", "WebSocket", true),
        ("keep-alive, Upgrade", "websocket, h2c", true),
        ("HTTP2-Settings,upgrade", "h2c , WEBSOCKET", true),
        ("upgrade", "h2c", false),
        ("upgrade", "websocket2", false),
        ("upgrade", "websocket/13", false),
        ("keep-alive", "websocket", false),
        ("upgrades", "websocket", false),
    ] {
        let headers = [("connection", connection), ("upgrade", to)];
        assert_eq!(
            is_one(Method::GET, Version::HTTP_11, &headers, ""),
            found,
            "{connection}: {to}"
        );
    }
    let lines = [
        ("connection", "te"),
        ("connection", "upgrade"),
        ("upgrade", "h2c"),
        ("upgrade", "websocket"),
    ];
    assert!(is_one(Method::GET, Version::HTTP_11, &lines, ""));
}

#[test]
fn only_the_websocket_is_passed_on() {
    let mut headers = HeaderMap::new();
    headers.append("upgrade", "h2c".parse().unwrap());
    headers.append("connection", "te".parse().unwrap());
    headers.append("te", "trailers".parse().unwrap());
    say(&mut headers);
    let mut told: Vec<_> =
        headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    told.sort_unstable();
    assert_eq!(told, [("connection", "upgrade"), ("upgrade", "websocket")]);
}
