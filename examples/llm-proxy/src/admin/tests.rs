use std::sync::atomic::Ordering;

use axum::{
    body::{Body, to_bytes},
    response::Response,
};
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use testkit::{Script, drain};
use tower::ServiceExt;
use tower_lifeline::{
    abort::{AbortBody, Aborted},
    exchange::Exchange,
};

use super::{AbortRegistry, Admin, Books, Budget, router};
use crate::{
    books::{Account, Asked},
    label::Given,
    testing::soon,
};

pub(super) fn admin(token: Option<&str>) -> Admin {
    let token = token.map(Into::into);
    let captured = Budget::new(0);
    Admin {
        books: Books::default(),
        registry: AbortRegistry::new(),
        captured,
        dropped: Default::default(),
        token,
        hosts: ["admin.example".to_owned()].into(),
        stopping: Default::default(),
    }
}

/// What is answered to a request with these headers.
async fn ask_with(
    admin: &Admin,
    method: Method,
    target: &str,
    headers: &[(&str, &str)],
) -> (StatusCode, Value) {
    let response = answer_to(admin, method, target, headers).await;
    let status = response.status();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

pub(super) async fn answer_to(
    admin: &Admin,
    method: Method,
    target: &str,
    headers: &[(&str, &str)],
) -> Response {
    let mut request = Request::builder().method(method).uri(target);
    if headers.iter().all(|(name, _)| *name != "host") {
        request = request.header("host", "127.0.0.1:8081");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    router(admin.clone()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn get(admin: &Admin, target: &str) -> Value {
    let (status, answer) = ask_with(admin, Method::GET, target, &[]).await;
    assert_eq!(status, StatusCode::OK);
    answer
}

async fn delete(admin: &Admin, target: &str) -> (StatusCode, Value) {
    ask_with(admin, Method::DELETE, target, &[]).await
}

/// A body that lives as long as the test lets it, in reach of the admin.
fn live(admin: &Admin, id: &str) -> AbortBody<Script> {
    AbortBody::new(Script::new().stall(), &admin.registry.handle(id.to_owned()))
}

/// The text of the reason for which a body was aborted.
async fn reason(body: AbortBody<Script>) -> String {
    let error = soon(drain(body)).await.error.unwrap();
    error.downcast_ref::<Aborted>().unwrap().reason().text().to_owned()
}

/// An exchange under way, as the books know it.
pub(super) fn open(admin: &Admin) -> (Exchange, Account) {
    let mut request = Request::new(());
    let exchange = Exchange::of(&mut request);
    (exchange, admin.books.open(&request.into_parts().0))
}

/// An exchange that ended, as the books know it.
pub(super) fn ended(admin: &Admin) -> String {
    let exchange = Exchange::new();
    exchange.insert(Asked::of(&Request::new(()).into_parts().0));
    admin.books.turned_away(&exchange, &"stop".into());
    exchange.id().to_string()
}

#[tokio::test]
async fn a_live_exchange_is_aborted_with_the_reason_that_was_given() {
    let admin = admin(None);
    let body = live(&admin, "a");
    let (status, answer) = delete(&admin, "/streams/a?reason=too%20slow%21").await;
    assert_eq!((status, answer), (StatusCode::OK, json!({"result": "aborted"})));
    assert_eq!(reason(body).await, "too slow!");
}

#[tokio::test]
async fn without_a_reason_the_reason_is_aborted() {
    for query in ["", "?reason=", "?other=1"] {
        let admin = admin(None);
        let (one, two) = (live(&admin, "a"), live(&admin, "b"));
        delete(&admin, &format!("/streams/a{query}")).await;
        assert_eq!(reason(one).await, "aborted", "{query}");
        delete(&admin, &format!("/streams{query}")).await;
        assert_eq!(reason(two).await, "aborted", "{query}");
    }
}

#[tokio::test]
async fn only_the_first_abort_of_an_exchange_is_one() {
    let admin = admin(None);
    let body = live(&admin, "a");
    delete(&admin, "/streams/a?reason=first").await;
    let (status, answer) = delete(&admin, "/streams/a?reason=second").await;
    assert_eq!((status, answer), (StatusCode::CONFLICT, json!({"result": "finished"})));
    assert_eq!(reason(body).await, "first");
}

#[tokio::test]
async fn an_exchange_that_has_ended_is_finished() {
    let admin = admin(None);
    let id = ended(&admin);
    let (status, answer) = delete(&admin, &format!("/streams/{id}")).await;
    assert_eq!((status, answer), (StatusCode::CONFLICT, json!({"result": "finished"})));
}

#[tokio::test]
async fn an_exchange_whose_ending_is_still_being_written_is_finished() {
    let admin = admin(None);
    let (exchange, _account) = open(&admin);
    let id = exchange.id();
    let (status, answer) = delete(&admin, &format!("/streams/{id}")).await;
    assert_eq!((status, answer), (StatusCode::CONFLICT, json!({"result": "finished"})));
}

#[tokio::test]
async fn an_id_that_nobody_had_is_unknown() {
    let admin = admin(None);
    ended(&admin);
    let _live = live(&admin, "a");
    for id in ["b", "A", "0123456789abcdef-1"] {
        let (status, answer) = delete(&admin, &format!("/streams/{id}")).await;
        assert_eq!((status, answer), (StatusCode::NOT_FOUND, json!({"result": "unknown"})));
    }
}

#[tokio::test]
async fn aborting_all_counts_those_it_ended() {
    let admin = admin(None);
    let bodies = ["a", "b", "c"].map(|id| live(&admin, id));
    delete(&admin, "/streams/a?reason=alone").await;
    let (status, answer) = delete(&admin, "/streams?reason=all").await;
    assert_eq!((status, answer), (StatusCode::OK, json!({"aborted": 2})));
    assert_eq!(delete(&admin, "/streams?reason=more").await.1, json!({"aborted": 0}));
    let mut reasons = Vec::new();
    for body in bodies {
        reasons.push(reason(body).await);
    }
    assert_eq!(reasons, ["alone", "all", "all"]);
    let later = live(&admin, "d");
    delete(&admin, "/streams/d?reason=later").await;
    assert_eq!(reason(later).await, "later");
}

#[tokio::test]
async fn the_streams_are_those_that_are_under_way() {
    let admin = admin(None);
    assert_eq!(get(&admin, "/streams").await, json!([]));
    let (exchange, _account) = open(&admin);
    exchange.insert(Given(StatusCode::PARTIAL_CONTENT));
    ended(&admin);
    let streams = get(&admin, "/streams").await;
    assert_eq!(streams.as_array().unwrap().len(), 1);
    assert_eq!(
        (&streams[0]["id"], &streams[0]["status"]),
        (&json!(exchange.id().to_string()), &json!(206))
    );
}

#[tokio::test]
async fn endings_are_a_hundred_unless_asked_and_ten_thousand_at_most() {
    let admin = admin(None);
    assert_eq!(get(&admin, "/endings").await, json!([]));
    let mut ids: Vec<String> = (0..10_001).map(|_| ended(&admin)).collect();
    ids.reverse();
    for (query, most) in [
        ("", 100),
        ("?limit=0", 0),
        ("?limit=1", 1),
        ("?limit=10000", 10_000),
        ("?limit=10001", 10_000),
    ] {
        let rows = get(&admin, &format!("/endings{query}")).await;
        let rows = rows.as_array().unwrap();
        assert_eq!(rows.len(), most, "{query}");
        assert!(rows.iter().map(|row| &row["id"]).eq(&ids[..most]), "not the newest: {query}");
    }
}

#[tokio::test]
async fn what_can_not_be_read_is_refused_in_the_shape_of_all_errors() {
    let admin = admin(None);
    for (method, target) in [
        (Method::GET, "/endings?limit=some"),
        (Method::GET, "/endings?limit=-1"),
        (Method::DELETE, "/streams?reason=a&reason=b"),
        (Method::DELETE, "/streams/a?reason=a&reason=b"),
        (Method::DELETE, "/streams/%ff"),
    ] {
        let (status, answer) = ask_with(&admin, method, target, &[]).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{target}");
        let error = &answer["error"];
        assert_eq!((&answer["type"], &error["type"]), (&json!("error"), &json!("refused")));
        assert_eq!(error["code"], "bad_request");
        assert!(error["message"].as_str().unwrap().len() > 10, "{target}: {answer}");
    }
}

#[tokio::test]
async fn with_a_token_every_request_needs_it() {
    let admin = admin(Some("s3cret"));
    let _live = live(&admin, "a");
    let good = ("authorization", "bEARER s3cret");
    for (method, target) in [
        (Method::GET, "/streams"),
        (Method::GET, "/endings"),
        (Method::DELETE, "/streams"),
        (Method::DELETE, "/streams/a"),
        (Method::GET, "/nowhere"),
    ] {
        for wrong in [
            None,
            Some("Bearer wrong!"),
            Some("Bearer s3cre"),
            Some("Bearer s3crets"),
            Some("Bearer "),
            Some("s3cret"),
            Some("Basic s3cret"),
            Some("Bearers3cret"),
            Some("Bearer  s3cret"),
        ] {
            let headers: Vec<_> = wrong.map(|value| ("authorization", value)).into_iter().collect();
            let (status, answer) = ask_with(&admin, method.clone(), target, &headers).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {target} {wrong:?}");
            assert_eq!(answer["error"]["code"], "unauthorized");
            let response = answer_to(&admin, method.clone(), target, &headers).await;
            assert_eq!(response.headers()["www-authenticate"], "Bearer");
        }
    }
    assert_eq!(ask_with(&admin, Method::GET, "/streams", &[good]).await.0, StatusCode::OK);
    assert_eq!(ask_with(&admin, Method::GET, "/endings", &[good]).await.0, StatusCode::OK);
    let aborted = ask_with(&admin, Method::DELETE, "/streams", &[good]).await;
    assert_eq!(aborted, (StatusCode::OK, json!({"aborted": 1})));
}

#[tokio::test]
async fn without_a_token_it_answers_only_to_an_address_localhost_or_a_name_that_was_given() {
    for (host, status) in [
        ("127.0.0.1:8081", 200),
        ("127.0.0.1", 200),
        ("[::1]:8081", 200),
        ("10.0.0.7", 200),
        ("localhost:8081", 200),
        ("LocalHost", 200),
        ("admin.example:443", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("evil.example:8081", 421),
        ("", 421),
        ("a b", 421),
    ] {
        let headers = [("host", host)];
        for (method, target) in
            [(Method::GET, "/streams"), (Method::GET, "/"), (Method::DELETE, "/streams")]
        {
            let (told, _) = ask_with(&admin(None), method, target, &headers).await;
            assert_eq!(told, status, "{host} {target}");
        }
        let with_token = [("host", host), ("authorization", "Bearer s3cret")];
        let (told, _) =
            ask_with(&admin(Some("s3cret")), Method::GET, "/streams", &with_token).await;
        assert_eq!(told, 200, "{host}: with a token it is not asked");
    }
    let twice = [("host", "localhost"), ("host", "localhost")];
    let (told, answer) = ask_with(&admin(None), Method::GET, "/streams", &twice).await;
    assert_eq!((told.as_u16(), &answer["error"]["code"]), (421, &json!("host")));
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_and_get_no_feed() {
    let host = ("host", "127.0.0.1:8081");
    for (target, headers, status) in [
        ("/live", &[][..], 200),
        ("/live", &[("sec-fetch-site", "same-origin")], 200),
        ("/live", &[("origin", "http://127.0.0.1:8081")], 200),
        ("/live", &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")], 403),
        ("/live", &[("sec-fetch-site", "same-site")], 403),
        ("/live", &[("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "document")], 403),
        ("/live", &[("origin", "http://127.0.0.1:8082")], 403),
        ("/live", &[("origin", "http://evil.example")], 403),
        ("/live", &[("origin", "null")], 403),
        ("/streams", &[("sec-fetch-site", "cross-site")], 403),
        // A bookmark, and a link.
        ("/", &[("sec-fetch-site", "none"), ("sec-fetch-dest", "document")], 200),
        ("/", &[("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "document")], 200),
        ("/", &[("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "iframe")], 403),
    ] {
        let headers: Vec<_> = [host].iter().chain(headers).copied().collect();
        let response = answer_to(&admin(None), Method::GET, target, &headers).await;
        assert_eq!(response.status(), status, "{target} {headers:?}");
    }
}

#[tokio::test]
async fn all_of_it_is_what_it_says_and_not_to_be_kept() {
    let admin = admin(Some("s3cret"));
    let good = ("authorization", "Bearer s3cret");
    let foreign = ("origin", "http://evil.example");
    for (method, target, header, status) in [
        (Method::GET, "/streams", good, 200),
        (Method::GET, "/metrics", good, 200),
        (Method::GET, "/", good, 200),
        (Method::GET, "/live", good, 200),
        (Method::GET, "/nowhere", good, 404),
        (Method::PUT, "/streams", good, 405),
        (Method::GET, "/endings?limit=x", good, 400),
        (Method::GET, "/streams", ("authorization", "Bearer x"), 401),
        (Method::GET, "/streams", foreign, 403),
        (Method::GET, "/healthz", foreign, 200),
    ] {
        let response = answer_to(&admin, method, target, &[header]).await;
        assert_eq!(response.status(), status, "{target}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff", "{target}");
        assert_eq!(response.headers()["cache-control"], "no-store", "{target}");
    }
}

#[tokio::test]
async fn whether_it_lives_and_takes_requests_is_told_to_everybody_and_nothing_else_is() {
    let admin = admin(Some("s3cret"));
    for stops in [false, true] {
        admin.stopping.store(stops, Ordering::Relaxed);
        for (target, status) in [("/healthz", 200), ("/readyz", if stops { 503 } else { 200 })] {
            let response = answer_to(&admin, Method::GET, target, &[("host", "pod.local")]).await;
            assert_eq!(response.status(), status, "{target}");
            assert!(to_bytes(response.into_body(), 1).await.unwrap().is_empty(), "{target}");
        }
    }
}

#[tokio::test]
async fn a_reason_that_is_too_long_is_cut() {
    let admin = admin(None);
    let body = live(&admin, "a");
    delete(&admin, &format!("/streams/a?reason={}", "r".repeat(5000))).await;
    assert_eq!(reason(body).await, "r".repeat(1024));
}
