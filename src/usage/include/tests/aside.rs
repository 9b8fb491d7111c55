//! Which requests and which answers are none of its business.

use testkit::Eos;

use super::*;

#[tokio::test]
async fn whoever_asked_gets_what_was_asked_for() {
    let asked = r#"{"stream":true,"stream_options":{"include_usage":true}}"#;
    let got = sent(IncludeUsageLayer::new(), post(Script::new().data(asked))).await;
    assert_eq!(got, (asked.into(), events()));
}

#[tokio::test]
async fn whoever_did_not_ask_does_not_get_it() {
    let stripped = (ASKED.into(), [DELTA, DONE].concat());
    let ask = |request| sent(IncludeUsageLayer::new(), request);
    for path in [
        PATH,
        "/openai/deployments/d/chat/completions?api-version=1",
        "/v1/completions/",
        "/chat/completions",
    ] {
        let request = Request::post(path).body(Script::new().data(STREAM)).unwrap();
        assert_eq!(ask(request).await, stripped, "{path}");
    }
    for (name, value) in [
        ("content-type", "application/json; charset=utf-8"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("content-encoding", "identity"),
        ("authorization", "Bearer sk-1"),
    ] {
        let request = Request::post(PATH).header(name, value);
        let request = request.body(Script::new().data(STREAM)).unwrap();
        assert_eq!(ask(request).await, stripped, "{name}: {value}");
    }
}

#[tokio::test]
async fn other_requests_and_signed_ones_pass_unread_and_so_do_their_answers() {
    let plain = || Request::post(PATH);
    for request in [
        Request::get(PATH),
        Request::put(PATH),
        Request::post("/v1/responses"),
        Request::post("/v1/messages"),
        Request::post("/v1/chat/completions/c-1"),
        plain().header("content-encoding", "gzip"),
        plain().header("content-digest", "sha-256=:x=:"),
        plain().header("repr-digest", "sha-256=:x=:"),
        plain().header("digest", "sha-256=x"),
        plain().header("content-md5", "x"),
        plain().header("signature", "sig1=:x=:"),
        plain().header("authorization", "AWS4-HMAC-SHA256 Credential=x"),
    ] {
        let request = request.body(Script::new().data(STREAM)).unwrap();
        let name = format!("{request:?}");
        let got = sent(IncludeUsageLayer::new(), request).await;
        assert_eq!(got, (STREAM.into(), events()), "{name}");
    }
}

#[tokio::test]
async fn an_answer_of_which_no_byte_may_be_missing_is_left_alone() {
    for (status, name, value) in [
        (500, "content-type", "text/event-stream"),
        (206, "content-type", "text/event-stream"),
        (205, "content-type", "text/event-stream"),
        (200, "content-type", "application/json"),
        (200, "content-encoding", "gzip"),
        (200, "content-digest", "sha-256=:x=:"),
        (200, "signature", "sig1=:x=:"),
        (200, "content-range", "bytes 0-9/10"),
    ] {
        let length = events().len();
        let mut answer = stream(Script::new().data(events()).exact_size(length as u64));
        *answer.status_mut() = status.try_into().unwrap();
        answer.headers_mut().insert(name, value.parse().unwrap());
        answer.headers_mut().insert("content-length", length.into());
        let head = answer.headers().clone();
        let answer = answered(answer).await;
        assert_eq!(*answer.headers(), head);
        assert_eq!(answer.body().size_hint().exact(), Some(length as u64));
        assert_eq!(drain(answer.into_body()).await.data, events(), "{status} {name}: {value}");
    }
}

#[tokio::test]
async fn a_length_that_would_be_a_lie_is_taken_away() {
    for eos in [Eos::Never, Eos::Truthful] {
        let length = events().len();
        let body = Script::new().data(events()).exact_size(length as u64).eos(eos);
        let mut answer = stream(body);
        answer.headers_mut().insert("content-length", length.into());
        answer.headers_mut().insert("x-id", "7".parse().unwrap());
        let answer = answered(answer).await;
        assert_eq!((answer.headers().get("content-length"), answer.headers().len()), (None, 2));
        assert_eq!(answer.body().size_hint().exact(), None);
        assert_eq!(drain(answer.into_body()).await.data, [DELTA, DONE].concat());
    }
    let empty = answered(stream(Script::new())).await;
    assert!(empty.body().is_end_stream());
}
