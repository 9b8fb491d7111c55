//! What is written into a request, and that all other bytes stay.

use http_body_util::BodyExt;
use testkit::Eos;

use super::*;
use crate::usage::include::json::Splice;

fn asked(request: &str) -> Option<String> {
    let asked = Splice::of(request.as_bytes())?.apply(request.as_bytes());
    Some(String::from_utf8(asked.to_vec()).unwrap())
}

#[test]
fn one_member_is_written_and_nothing_else_is_touched() {
    for (request, expected) in [
        (STREAM, ASKED),
        (
            "\n { \"model\" : \"m\",\t\"n\":1.0e0 , \"stream\" : true }\r\n",
            "\n {\"stream_options\":{\"include_usage\":true}, \"model\" : \"m\",\t\"n\":1.0e0 , \"stream\" : true }\r\n",
        ),
        (
            r#"{"stream":true,"stream_options": null }"#,
            r#"{"stream":true,"stream_options": {"include_usage":true} }"#,
        ),
        (
            r#"{"stream":true,"stream_options":{ }}"#,
            r#"{"stream":true,"stream_options":{"include_usage":true }}"#,
        ),
        (
            r#"{"stream_options":{"include_usage": false},"stream":true}"#,
            r#"{"stream_options":{"include_usage": true},"stream":true}"#,
        ),
        (
            r#"{"stream_options":{"include_usage":null ,"include_obfuscation":false},"stream":true}"#,
            r#"{"stream_options":{"include_usage":true ,"include_obfuscation":false},"stream":true}"#,
        ),
        (
            r#"{"stream_options":{ "include_obfuscation":false},"stream":true}"#,
            r#"{"stream_options":{"include_usage":true, "include_obfuscation":false},"stream":true}"#,
        ),
        (
            r#"{"stream\u005foptions":{"include\u005Fusage":false},"str\u0065am":true}"#,
            r#"{"stream\u005foptions":{"include\u005Fusage":true},"str\u0065am":true}"#,
        ),
        // What only looks like it.
        (
            r#"{"a":{"stream_options":{"include_usage":true}},"b":"\"stream_options\":{","stream":true}"#,
            r#"{"stream_options":{"include_usage":true},"a":{"stream_options":{"include_usage":true}},"b":"\"stream_options\":{","stream":true}"#,
        ),
        (
            r#"{"stream_options":{"x":{"include_usage":true}},"stream":true}"#,
            r#"{"stream_options":{"include_usage":true,"x":{"include_usage":true}},"stream":true}"#,
        ),
        // The last counts.
        (
            r#"{"stream":false,"stream_options":{"include_usage":true},"stream_options":{},"stream":true}"#,
            r#"{"stream":false,"stream_options":{"include_usage":true},"stream_options":{"include_usage":true},"stream":true}"#,
        ),
        (
            r#"{"stream_options":{"include_usage":true,"include_usage":false},"stream":true}"#,
            r#"{"stream_options":{"include_usage":true,"include_usage":true},"stream":true}"#,
        ),
    ] {
        assert_eq!(asked(request).as_deref(), Some(expected));
    }
}

#[test]
fn what_asks_already_or_is_not_ours_to_judge_is_left_alone() {
    for request in [
        r#"{"stream":true,"stream_options":{"include_usage":true}}"#,
        r#"{"stream":true,"stream_options":{"include_usage":false,"include_usage":true}}"#,
        r#"{"stream":true,"stream_options":{"include_usage":1}}"#,
        r#"{"stream":true,"stream_options":{"include_usage":"true"}}"#,
        r#"{"stream":true,"stream_options":{"include_usage":{}}}"#,
        r#"{"stream":true,"stream_options":[]}"#,
        r#"{"stream":true,"stream_options":"x"}"#,
        r#"{"stream":true,"stream_options":false}"#,
        r#"{"stream":false}"#,
        r#"{"stream":true,"stream":false}"#,
        r#"{"stream":"true"}"#,
        r#"{"stream":null}"#,
        r#"{"a":{"stream":true}}"#,
        "{}",
        "",
        "[]",
        r#"[{"stream":true}]"#,
        "true",
    ] {
        assert_eq!(asked(request), None, "{request}");
    }
}

#[test]
fn what_is_broken_is_left_alone() {
    for request in [
        r#"{"stream":true"#,
        r#"{"stream":true}}"#,
        r#"{"stream":true} {"stream":true}"#,
        r#"{"stream":true,}"#,
        r#"{"stream":true,"a":01}"#,
        r#"{"stream":true,"a":"\x"}"#,
        r#"{'stream':true}"#,
        r#"{stream:true}"#,
        "\u{feff}{\"stream\":true}",
        "{\"stream\":true,\"a\":\"\n\"}",
        "data: {\"stream\":true}",
    ] {
        assert_eq!(asked(request), None, "{request}");
    }
    let bytes = b"{\"stream\":true,\"\xff\":1}";
    assert!(Splice::of(bytes).is_none());
}

#[test]
fn a_request_may_be_as_deep_as_it_likes() {
    let deep = format!("{{\"a\":{}{},\"stream\":true}}", "[".repeat(100_000), "]".repeat(100_000));
    let expected = deep.replacen('{', "{\"stream_options\":{\"include_usage\":true},", 1);
    assert_eq!(asked(&deep), Some(expected));
}

#[tokio::test]
async fn the_service_gets_one_frame_of_the_right_size_and_length() {
    for body in [
        Script::new().data(STREAM).exact_size(STREAM.len() as u64),
        Script::new().data("{\"st").pending().data("").data("ream\":true}").eos(Eos::Never),
    ] {
        let got = Got::default();
        let service = IncludeUsageLayer::new().layer(upstream(&got, stream(Script::new())));
        let length = STREAM.len().to_string();
        let request = Request::post(PATH).header("content-length", length).body(body).unwrap();
        drop(service.oneshot(request).await);
        let (headers, hint, body) = got.lock().unwrap().take().unwrap();
        assert_eq!(body.frames, [ASKED]);
        assert_eq!(headers["content-length"], ASKED.len().to_string());
        assert_eq!(hint.exact(), Some(ASKED.len() as u64));
    }
}

#[tokio::test]
async fn no_length_is_put_where_there_was_none() {
    let got = Got::default();
    let service = IncludeUsageLayer::new().layer(upstream(&got, stream(Script::new())));
    drop(service.oneshot(post(Script::new().data(STREAM))).await);
    assert!(got.lock().unwrap().take().unwrap().0.is_empty());
}

#[tokio::test]
async fn what_is_left_alone_comes_as_it_was_frame_by_frame() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    let pieces = || Script::new().data("{\"str").data("eam\":true}").eos(Eos::Never);
    for (body, error) in [
        (Script::new().data("{\"str").data("eam\":fals").data("e}"), false),
        (pieces().trailers(trailers.clone()), false),
        (pieces().error("boom"), true),
    ] {
        let got = Got::default();
        let service = IncludeUsageLayer::new().layer(upstream(&got, stream(Script::new())));
        drop(service.oneshot(post(body)).await);
        let (_, _, body) = got.lock().unwrap().take().unwrap();
        assert_eq!((body.frames.len() >= 2, body.error.is_some()), (true, error));
        assert_eq!(body.frames[0], "{\"str");
    }
}

#[tokio::test]
async fn a_request_that_is_too_large_goes_on_as_it_comes_and_its_answer_stays_whole() {
    let layer = IncludeUsageLayer::new().request_limit(STREAM.len() as u64 - 1);
    let body = Script::new().data("{\"stream\"").data(":true").data("}");
    assert_eq!(sent(layer, post(body)).await, (STREAM.into(), events()));
    let body = Script::new().data(STREAM).exact_size(STREAM.len() as u64);
    let log = body.log();
    let service = layer.layer(service_fn(move |request: Request<IncludeUsageRequest<Script>>| {
        assert_eq!(log.polls(), 0, "it says how large it is, and is not read beforehand");
        async { Ok::<_, Infallible>(stream(Script::new())).inspect(|_| drop(request)) }
    }));
    drop(service.oneshot(post(body)).await);
    let layer = IncludeUsageLayer::new().request_limit(STREAM.len() as u64);
    assert_eq!(sent(layer, post(Script::new().data(STREAM))).await.0, ASKED);
}

#[tokio::test]
async fn the_error_of_the_service_goes_on_to_the_caller() {
    for path in [PATH, "/"] {
        let service = IncludeUsageLayer::new()
            .layer(service_fn(async |_: Request<_>| Err::<Response<Script>, _>("refused")));
        let request = Request::post(path).body(Script::new().data(STREAM)).unwrap();
        assert_eq!(service.oneshot(request).await.unwrap_err(), "refused");
    }
}

#[tokio::test]
async fn the_service_that_is_ready_is_the_one_that_is_called() {
    struct Once(bool);
    impl Clone for Once {
        fn clone(&self) -> Self {
            Self(false)
        }
    }
    impl<A> Service<Request<A>> for Once {
        type Response = Response<Script>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Response<Script>, Infallible>>;
        fn poll_ready(
            &mut self,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Result<(), Infallible>> {
            self.0 = true;
            std::task::Poll::Ready(Ok(()))
        }
        fn call(&mut self, _: Request<A>) -> Self::Future {
            assert!(std::mem::take(&mut self.0), "it was not asked whether it is ready");
            std::future::ready(Ok(stream(Script::new().data(DONE))))
        }
    }
    let response =
        IncludeUsageLayer::new().layer(Once(false)).oneshot(post(Script::new().data(STREAM)));
    assert_eq!(response.await.unwrap().into_body().collect().await.unwrap().to_bytes(), DONE);
}
