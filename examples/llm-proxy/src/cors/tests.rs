use std::convert::Infallible;

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt, service_fn};

use super::{Cors, Origin};

#[test]
fn an_origin_is_written_as_browsers_write_it() {
    assert_eq!("*".parse(), Ok(Origin::Any));
    for origin in [
        "https://chat.example",
        "http://localhost:3000",
        "http://[::1]:8080",
        "tauri://localhost",
        "chrome-extension://abcdefghijklmnop",
    ] {
        assert_eq!(origin.parse(), Ok(Origin::One(origin.parse().unwrap())), "{origin}");
    }
    for bad in [
        "",
        "null",
        "chat.example",
        "//chat.example",
        "https://",
        "https://chat.example/",
        "https://chat.example/path",
        "https://chat.example?q",
        "https://user@chat.example",
        "https://Chat.example",
        "https://chat.example:443",
        "http://chat.example:80",
        "https://chat.example:",
        "https://a.example,https://b.example",
        "https://*.example",
        "https://chat.example\n",
    ] {
        assert!(bad.parse::<Origin>().is_err(), "{bad:?}");
    }
}

async fn ask(origins: &[&str], request: http::request::Builder) -> Response<String> {
    let origins: Vec<Origin> = origins.iter().map(|origin| origin.parse().unwrap()).collect();
    let upstream = service_fn(|request: Request<()>| async move {
        let answer = Response::builder()
            .header("access-control-allow-origin", "https://the.upstream.allows")
            .header("access-control-allow-credentials", "true")
            .header("access-control-expose-headers", "x-theirs")
            .header("vary", "accept");
        let body = Full::<bytes::Bytes>::from(format!("upstream {}", request.method()));
        Ok::<_, Infallible>(answer.body(body).unwrap())
    });
    let answer =
        Cors::new(&origins).layer(upstream).oneshot(request.body(()).unwrap()).await.unwrap();
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Response::from_parts(head, String::from_utf8(body.to_vec()).unwrap())
}

/// All values of a header.
fn values<'a>(answer: &'a Response<String>, name: &str) -> Vec<&'a str> {
    answer.headers().get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

fn preflight(origin: &str) -> http::request::Builder {
    Request::options("/v1/messages")
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,x-api-key")
}

#[tokio::test]
async fn a_preflight_is_answered_here_and_grants_what_is_asked_for() {
    for (origins, granted) in [
        (&["*"][..], "*"),
        (&["https://b.example", "https://a.example"], "https://a.example"),
        (&["https://b.example", "*"], "*"),
    ] {
        let answer = ask(origins, preflight("https://a.example")).await;
        assert_eq!((answer.status(), &**answer.body()), (StatusCode::OK, ""));
        assert_eq!(values(&answer, "access-control-allow-origin"), [granted]);
        assert_eq!(values(&answer, "access-control-allow-methods"), ["POST"]);
        assert_eq!(values(&answer, "access-control-allow-headers"), ["authorization,x-api-key"]);
        assert_eq!(values(&answer, "access-control-max-age"), ["7200"]);
    }
    let answer = ask(&["https://b.example"], preflight("https://a.example")).await;
    assert_eq!(&**answer.body(), "");
    assert!(values(&answer, "access-control-allow-origin").is_empty());
}

#[tokio::test]
async fn an_answer_says_what_we_allow_in_place_of_the_upstream() {
    let get = || Request::get("/").header("origin", "https://a.example");
    let answer = ask(&["https://a.example"], get()).await;
    assert_eq!(&**answer.body(), "upstream GET");
    assert_eq!(values(&answer, "access-control-allow-origin"), ["https://a.example"]);
    assert!(values(&answer, "access-control-allow-credentials").is_empty());
    assert_eq!(values(&answer, "access-control-expose-headers"), ["x-exchange-id,*"]);
    let vary = values(&answer, "vary").join(",");
    assert!(vary.contains("accept") && vary.contains("origin"), "{vary}");

    // One that is not let in by us is not by the upstream.
    let answer = ask(&["https://b.example"], get()).await;
    assert!(values(&answer, "access-control-allow-origin").is_empty());
}

#[tokio::test]
async fn an_options_that_is_no_preflight_is_the_upstreams() {
    for request in [
        Request::options("/"),
        Request::options("/").header("origin", "https://a.example"),
        Request::options("/").header("access-control-request-method", "POST"),
    ] {
        assert_eq!(&**ask(&["*"], request).await.body(), "upstream OPTIONS");
    }
    let answer = ask(&["*"], Request::builder().method(Method::GET)).await;
    assert_eq!(values(&answer, "access-control-allow-origin"), ["*"]);
}

#[tokio::test]
async fn without_an_origin_nothing_is_changed() {
    let answer = ask(&[], preflight("https://a.example")).await;
    assert_eq!(&**answer.body(), "upstream OPTIONS");
    assert_eq!(values(&answer, "access-control-allow-origin"), ["https://the.upstream.allows"]);
    assert_eq!(values(&answer, "access-control-expose-headers"), ["x-theirs"]);
    assert_eq!(values(&answer, "vary"), ["accept"]);
}
