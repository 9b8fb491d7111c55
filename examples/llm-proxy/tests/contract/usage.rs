//! What an answer cost, and whether it came to its own end.

use serde_json::{Value, json};
use testkit::{H1, Play, Upstream};

use crate::{
    client::{Client, End, WIRES, Wire, error_of, says},
    common::{LIMIT, Proxy},
};

const DELTA: &str = "data: {\"object\":\"chat.completion.chunk\",\"model\":\"m-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n";
const USAGE: &str = "data: {\"object\":\"chat.completion.chunk\",\"model\":\"m-1\",\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":7,\"total_tokens\":19,\"prompt_tokens_details\":{\"cached_tokens\":8},\"completion_tokens_details\":{\"reasoning_tokens\":3}}}\n\n";
const DONE: &str = "data: [DONE]\n\n";
const REFUSED: &str = "data: {\"error\":{\"message\":\"overloaded\",\"code\":529}}\n\n";
const CHAT: &str = "/v1/chat/completions";

/// What a client sees of these events, and the ending of that.
async fn told(wire: Wire, path: &str, events: &[&str]) -> (String, Value) {
    let play = Play::new().head_sse().chunk(events.concat()).last_chunk();
    let upstream = Upstream::start([play]).await;
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    let (seen, end) = Client::get(wire, &proxy, path).await.rest().await;
    assert_eq!(end, End::Clean);
    (seen, proxy.ending().await)
}

fn cost() -> Value {
    json!({
        "dialect": "openai_chat", "model": "m-1", "input_tokens": 12, "output_tokens": 7,
        "cached_tokens": 8, "reasoning_tokens": 3, "certainty": "reported",
    })
}

#[tokio::test]
async fn a_whole_answer_is_told_with_its_usage_and_its_terminator() {
    for wire in WIRES {
        let (seen, ending) = told(wire, CHAT, &[DELTA, USAGE, DONE]).await;
        assert_eq!(seen, [DELTA, USAGE, DONE].concat());
        let whole = [("outcome", json!("completed")), ("terminator", json!("seen"))];
        says(&ending, whole);
        assert_eq!(ending["usage"], cost());
    }
}

#[tokio::test]
async fn an_answer_that_ends_without_its_terminator_is_truncated_and_the_client_is_told() {
    for wire in WIRES {
        let (seen, ending) = told(wire, CHAT, &[DELTA]).await;
        let last = seen.strip_prefix(DELTA).unwrap();
        let error = &error_of(last)["error"];
        assert_eq!((&error["type"], &error["code"]), (&json!("upstream"), &json!("truncated")));
        says(
            &ending,
            [
                ("outcome", json!("truncated")),
                ("reason", Value::Null),
                ("terminator", json!("missing")),
                ("bytes", json!(DELTA.len())),
            ],
        );
        assert_eq!(ending["usage"]["certainty"], "unknown");
        assert_eq!(ending["usage"]["output_tokens"], Value::Null);
    }
}

#[tokio::test]
async fn an_error_event_of_the_upstreams_own_is_passed_on_and_the_answer_has_failed() {
    for wire in WIRES {
        let (seen, ending) = told(wire, CHAT, &[DELTA, REFUSED]).await;
        assert_eq!(seen, [DELTA, REFUSED].concat());
        says(&ending, [("outcome", json!("failed")), ("reason", json!("upstream_error_event"))]);
    }
}

#[tokio::test]
async fn a_last_event_without_its_blank_line_counts() {
    let (seen, ending) = told(Wire::H1, CHAT, &[DELTA, USAGE, "data: [DONE]"]).await;
    assert_eq!(seen, [DELTA, USAGE, "data: [DONE]"].concat());
    says(&ending, [("outcome", json!("completed")), ("terminator", json!("seen"))]);
    assert_eq!(ending["usage"], cost());
}

#[tokio::test]
async fn an_event_with_an_image_in_it_of_any_size_is_passed_on_and_counted() {
    let image = "iVBORw0KGgo/".repeat(93_867);
    let last = format!(
        "event: response.completed\ndata: {{\"type\":\"response.completed\",\"response\":{{\"status\":\"completed\",\
         \"output\":[{{\"type\":\"image_generation_call\",\"result\":\"{image}\"}}],\
         \"usage\":{{\"input_tokens\":11,\"output_tokens\":7}}}}}}\n\n"
    );
    for wire in WIRES {
        let (seen, ending) = told(wire, "/v1/responses", &[&last]).await;
        assert!(seen == last, "{} bytes of {}", seen.len(), last.len());
        says(&ending, [("outcome", json!("completed")), ("terminator", json!("seen"))]);
        let usage = &ending["usage"];
        assert_eq!((&usage["input_tokens"], &usage["output_tokens"]), (&json!(11), &json!(7)));
        assert_eq!(usage["certainty"], "reported");
    }
}

#[tokio::test]
async fn a_stream_of_no_dialect_has_no_usage_and_no_terminator() {
    let (_, ending) = told(Wire::H1, "/events", &["data: 1\n\n"]).await;
    let none = [("outcome", json!("completed")), ("terminator", json!("none"))];
    says(&ending, none);
    assert_eq!(ending["usage"], Value::Null);
}

#[tokio::test]
async fn what_was_read_after_the_client_left_is_counted_with_drain_and_unknown_without() {
    for (options, known) in [(&["--drain=1m"][..], true), (&[], false)] {
        let gate = testkit::Gate::new();
        let play = Play::new().head_sse().chunk(DELTA).wait(&gate);
        let play = play.chunk([USAGE, DONE].concat()).last_chunk();
        let upstream = Upstream::start([play]).await;
        let proxy = Proxy::before(upstream.addr(), options).await;
        let mut client = Client::get(Wire::H1, &proxy, CHAT).await;
        client.read_until(DELTA).await;
        client.leave().await;
        if known {
            proxy.stream(|stream| stream["draining"] == true).await;
        }
        gate.open();
        let ending = proxy.ending().await;
        says(&ending, [("outcome", json!("disconnected"))]);
        if known {
            assert_eq!((&ending["usage"], &ending["terminator"]), (&cost(), &json!("seen")));
        } else {
            assert_eq!(ending["usage"]["certainty"], "unknown");
            assert_eq!(ending["terminator"], "missing");
        }
    }
}

#[tokio::test]
async fn an_answer_of_a_known_dialect_is_asked_for_without_a_coding_in_which_nobody_could_read_it()
{
    let play = Play::new().head_sse().chunk([DELTA, USAGE, DONE].concat()).last_chunk();
    let upstream = Upstream::start([play]).await;
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    for (path, expected) in [(CHAT, Some("identity")), ("/files/1", Some("gzip, br"))] {
        let mut client = H1::connect(proxy.addr).await.unwrap();
        client.get_with(path, &[("accept-encoding", "gzip, br")]).await.unwrap();
        client.read_head(LIMIT).await.unwrap();
        let conns = upstream.conns();
        let head = conns.last().unwrap().head.as_ref().unwrap();
        assert_eq!(head.header("accept-encoding"), expected, "{path}");
    }
}
