use std::time::Duration;

use axum::{
    body::{Body, to_bytes},
    response::Response,
};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::time::{Instant, advance, sleep};
use tower::ServiceExt;

use super::{PAGE, SCRIPT, STYLE};
use crate::{
    admin::{
        Admin, router,
        tests::{admin, answer_to, ended, open},
    },
    testing::soon,
};

async fn get(admin: &Admin, target: &str) -> Response {
    let response = answer_to(admin, Method::GET, target, &[]).await;
    assert_eq!(response.status(), StatusCode::OK, "{target}");
    response
}

async fn feed(admin: &Admin) -> Body {
    get(admin, "/live").await.into_body()
}

/// The next event, which is one frame, and what it says.
async fn next(feed: &mut Body) -> Value {
    let frame = soon(feed.frame()).await.unwrap().unwrap().into_data().unwrap();
    let event = std::str::from_utf8(&frame).unwrap();
    assert!(event.ends_with("\n\n") && event.matches("\n\n").count() == 1, "{event}");
    assert!(event.lines().any(|line| line == "retry: 1000"), "{event}");
    let data: Vec<_> = event.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    serde_json::from_str(&data.concat()).unwrap()
}

#[tokio::test]
async fn each_part_of_the_page_is_served_as_what_it_is_with_the_policy() {
    for (target, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
        ("/page.css", "text/css; charset=utf-8"),
        ("/live", "text/event-stream"),
    ] {
        let response = get(&admin(None), target).await;
        let headers = response.headers();
        assert_eq!(headers["content-type"], content_type, "{target}");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{target}");
        assert_eq!(headers["cache-control"], "no-store", "{target}");
        assert_eq!(headers["referrer-policy"], "no-referrer", "{target}");
        let policy = headers["content-security-policy"].to_str().unwrap();
        let mut rules: Vec<_> = policy.split("; ").collect();
        rules.sort_unstable();
        let expected = [
            "base-uri 'none'",
            "connect-src 'self'",
            "default-src 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "script-src 'self'",
            "style-src 'self'",
            "trusted-types 'none'",
        ];
        assert_eq!(rules, expected, "{target}");
    }
}

#[tokio::test]
async fn nothing_of_the_page_names_another_host() {
    for target in ["/", "/page.js", "/page.css"] {
        let body = get(&admin(None), target).await.into_body();
        let text = String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
        // The name of SVG is written like an address, and nobody goes there.
        let text = text.replace("\"http://www.w3.org/2000/svg\"", "");
        assert!(!text.contains("://") && !text.contains("=\"//") && !text.contains("url("));
        assert!(!text.contains("@import"), "{target}");
    }
}

#[test]
fn the_page_has_no_script_or_style_in_its_markup() {
    let tags: Vec<_> = PAGE.split('<').skip(1).collect();
    let of = |name: &str| tags.iter().filter(|tag| tag.starts_with(name)).count();
    assert_eq!((of("script"), of("style")), (1, 0));
    for tag in tags {
        assert!(!tag.contains(" style=") && !tag.contains(" on"), "{tag}");
    }
    assert!(STYLE.contains("prefers-color-scheme: dark"));
}

#[test]
fn the_script_never_makes_markup_of_text() {
    for sink in
        ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("]
    {
        assert!(!SCRIPT.contains(sink), "{sink}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_feed_tells_what_is_so_at_once_and_every_second() {
    let admin = admin(None);
    let (exchange, account) = open(&admin);
    let id = exchange.id().to_string();
    let mut feed = feed(&admin).await;
    let began = Instant::now();
    let first = next(&mut feed).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!((&first["live"], &first["streams"][0]["id"]), (&json!(1), &json!(id)));
    assert_eq!(first["endings"], json!([]));
    let second = next(&mut feed).await;
    assert_eq!(began.elapsed(), Duration::from_secs(1));
    assert_eq!(second["streams"][0]["age_ms"], 1000);
    drop(account);
}

#[tokio::test(start_paused = true)]
async fn the_feed_tells_each_ending_once_and_a_new_feed_tells_the_last_ones_again() {
    let admin = admin(None);
    let mut feed_before = feed(&admin).await;
    next(&mut feed_before).await;
    let id = ended(&admin);
    assert_eq!(next(&mut feed_before).await["endings"][0]["id"], json!(id));
    for _ in 0..3 {
        assert_eq!(next(&mut feed_before).await["endings"], json!([]));
    }
    let again = next(&mut feed(&admin).await).await;
    assert_eq!((again["endings"].as_array().unwrap().len(), &again["ended"]), (1, &json!(1)));
    assert_eq!(again["endings"][0]["id"], json!(id));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_did_not_read_for_a_while_has_one_event_to_read() {
    let admin = admin(None);
    let mut feed = feed(&admin).await;
    next(&mut feed).await;
    for _ in 0..100 {
        ended(&admin);
        advance(Duration::from_millis(90)).await;
    }
    let resumed = Instant::now();
    let event = next(&mut feed).await;
    assert_eq!(resumed.elapsed(), Duration::ZERO);
    assert_eq!((event["endings"].as_array().unwrap().len(), &event["ended"]), (50, &json!(100)));
    next(&mut feed).await;
    assert_eq!(resumed.elapsed(), Duration::from_secs(1));
}

/// Issue 10 D7: sixteen that do not read were all the feeds there are.
#[tokio::test(start_paused = true)]
async fn a_feed_that_is_not_read_for_ten_seconds_is_dropped_and_makes_room() {
    let admin = admin(None);
    let router = router(admin);
    let ask = || async {
        let request =
            Request::get("/live").header("host", "localhost").body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap()
    };
    let mut feeds = Vec::new();
    for _ in 0..16 {
        let mut body = ask().await.into_body();
        next(&mut body).await;
        feeds.push(body);
    }
    assert_eq!(ask().await.status(), StatusCode::SERVICE_UNAVAILABLE);
    sleep(Duration::from_secs(11)).await;
    assert_eq!(ask().await.status(), StatusCode::OK);
    assert!(feeds.pop().unwrap().frame().await.unwrap().is_err());
}

#[tokio::test]
async fn with_a_token_no_part_of_the_page_is_there_without_it() {
    let admin = admin(Some("s3cret"));
    for target in ["/", "/page.js", "/page.css", "/live"] {
        let refused = answer_to(&admin, Method::GET, target, &[]).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{target}");
        let token = ("authorization", "Bearer s3cret");
        let served = answer_to(&admin, Method::GET, target, &[token]).await;
        assert_eq!(served.status(), StatusCode::OK, "{target}");
    }
}
