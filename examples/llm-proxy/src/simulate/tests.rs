use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Either};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use tower::ServiceExt;

use super::start;
use crate::{
    forward::{Answer, Forward, WebSocket},
    testing::{full, soon},
};

mod dialects;

async fn send(
    request: http::request::Builder,
    body: String,
) -> Response<Either<Answer, WebSocket>> {
    let forward = Forward::new(start().await.unwrap(), Default::default()).unwrap();
    let request = request.header("host", "x").body(full(body)).unwrap();
    soon(forward.oneshot(request)).await.unwrap()
}

async fn post(path: &str, body: &Value) -> Response<Either<Answer, WebSocket>> {
    send(Request::post(path), body.to_string()).await
}

/// A request of the shape that all three dialects share.
fn ask(model: &str, stream: bool) -> Value {
    json!({
        "model": model,
        "stream": stream,
        "messages": [{"role": "user", "content": "one two three"}],
    })
}

async fn text(response: Response<Either<Answer, WebSocket>>) -> String {
    let body = soon(response.into_body().collect()).await.unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

async fn value(response: Response<Either<Answer, WebSocket>>) -> Value {
    assert_eq!(response.headers()["content-type"], "application/json");
    serde_json::from_str(&text(response).await).unwrap()
}

const PATHS: [&str; 3] = ["/v1/chat/completions", "/v1/messages", "/api/chat"];

#[tokio::test]
async fn the_first_byte_waits_behind_the_head_and_the_head_behind_its_own_silence() {
    let start = Instant::now();
    let model = "sim-words=1-head=300ms-first=400ms";
    let response = post("/api/chat", &ask(model, true)).await;
    let head = start.elapsed();
    assert!(head >= Duration::from_millis(300), "{head:?}");
    let mut body = response.into_body();
    assert!(timeout(Duration::from_millis(100), body.frame()).await.is_err());
    soon(body.frame()).await.unwrap().unwrap();
    let first = start.elapsed();
    assert!(first >= Duration::from_millis(700), "{first:?}");
}

#[tokio::test]
async fn a_stalled_stream_is_silent_after_its_words() {
    for path in PATHS {
        let mut body = post(path, &ask("sim-gap=0ms-stall=2", true)).await.into_body();
        let mut read = String::new();
        while let Ok(frame) = timeout(Duration::from_millis(200), body.frame()).await {
            let data = frame.unwrap().unwrap().into_data().unwrap();
            read += std::str::from_utf8(&data).unwrap();
        }
        assert!(read.contains(" answer"), "{read}");
        assert!(!read.contains(" comes"), "{read}");
    }
}

#[tokio::test]
async fn a_failing_stream_breaks_after_its_words_not_before() {
    for (path, stream) in PATHS.into_iter().flat_map(|path| [(path, true), (path, false)]) {
        let response = post(path, &ask("sim-gap=0ms-fail=20", stream)).await;
        let announced = response.headers().get("content-length").cloned();
        let mut body = response.into_body();
        let mut read = String::new();
        let error = loop {
            match soon(body.frame()).await.unwrap() {
                Ok(frame) => read += std::str::from_utf8(&frame.into_data().unwrap()).unwrap(),
                Err(error) => break error,
            }
        };
        assert!(read.contains("answer"), "{path} {read} {error}");
        match announced {
            None => assert!(stream && read.contains(" every"), "{path} {read}"),
            Some(length) => assert!(read.len() < length.to_str().unwrap().parse().unwrap()),
        }
    }
}

#[tokio::test]
async fn a_pause_keeps_the_rest_back() {
    let start = Instant::now();
    let body = text(post("/api/chat", &ask("words=2-gap=0ms-pause=1:300ms", true)).await).await;
    assert_eq!(body.lines().count(), 3);
    assert!(start.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn an_answer_that_does_not_stream_takes_its_whole_time_and_says_its_length() {
    let start = Instant::now();
    let response = post("/v1/messages", &ask("words=3-gap=100ms", false)).await;
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert!(response.headers().contains_key("content-length"));
    assert_eq!(value(response).await["content"][0]["text"], "The answer comes");
}

#[tokio::test]
async fn a_bad_model_name_a_bad_body_and_a_missing_model_are_400() {
    let bad = [
        (ask("sim-words=lots-x", true).to_string(), "words=lots"),
        ("{".to_owned(), "no JSON"),
        (json!({"stream": true}).to_string(), "model"),
        (json!([1]).to_string(), "model"),
    ];
    for path in PATHS {
        for (body, reason) in &bad {
            let response = send(Request::post(path), body.clone()).await;
            assert_eq!(response.status(), StatusCode::BAD_REQUEST);
            let told = value(response).await;
            let message = told["error"]["message"].as_str().or(told["error"].as_str());
            assert!(message.unwrap().contains(reason), "{told}");
        }
    }
}

#[tokio::test]
async fn an_unknown_path_is_404_and_a_wrong_method_405_in_json() {
    let response = send(Request::get("/nowhere?x=1"), String::new()).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let message = value(response).await["error"]["message"].to_string();
    assert!(message.contains("GET /nowhere"), "{message}");

    let response = send(Request::get("/v1/messages"), String::new()).await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert!(value(response).await["error"]["message"].is_string());
}

#[tokio::test]
async fn the_list_of_models_names_some_that_work() {
    let list = value(send(Request::get("/v1/models"), String::new()).await).await;
    let models = list["data"].as_array().unwrap();
    assert!(models.len() > 3);
    for model in models {
        super::manner::Manner::of(model["id"].as_str().unwrap()).unwrap();
    }
}

#[tokio::test]
async fn equal_requests_get_equal_answers() {
    for path in PATHS {
        let ask = ask("words=5-gap=0ms", true);
        let first = text(post(path, &ask).await).await;
        assert_eq!(first, text(post(path, &ask).await).await);
    }
}
