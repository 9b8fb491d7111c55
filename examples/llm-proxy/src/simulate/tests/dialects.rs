//! What each dialect puts on the wire.

use http::StatusCode;
use serde_json::{Value, json};

use super::{ask, post, text, value};

const THREE: &str = "sim-words=3-gap=0ms";

/// The events of an SSE stream: name (where there is one) and data.
fn events(stream: &str) -> Vec<(Option<&str>, &str)> {
    let events = stream.strip_suffix("\n\n").unwrap().split("\n\n");
    events
        .map(|event| match event.split_once('\n') {
            Some((name, data)) => (name.strip_prefix("event: "), data),
            None => (None, event),
        })
        .map(|(name, data)| (name, data.strip_prefix("data: ").unwrap()))
        .collect()
}

fn parsed(data: &str) -> Value {
    serde_json::from_str(data).unwrap()
}

#[tokio::test]
async fn openai_chat_streams_its_words_and_ends_with_done() {
    let response = post("/v1/chat/completions", &ask(THREE, true)).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let stream = text(response).await;
    let mut events = events(&stream);
    assert_eq!(events.pop(), Some((None, "[DONE]")));
    let chunks: Vec<Value> = events.iter().map(|(_, data)| parsed(data)).collect();
    for chunk in &chunks {
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!(chunk["model"], THREE);
        assert!(chunk["id"].is_string() && chunk["created"].is_u64());
        assert!(chunk.get("usage").is_none());
    }
    let choices: Vec<&Value> = chunks.iter().map(|chunk| &chunk["choices"][0]).collect();
    assert_eq!(choices[0]["delta"]["role"], "assistant");
    let said: Vec<_> = choices[1..4].iter().map(|c| &c["delta"]["content"]).collect();
    assert_eq!(said, ["The", " answer", " comes"]);
    assert_eq!(choices[3]["finish_reason"], Value::Null);
    assert_eq!(choices[4]["finish_reason"], "stop");
    assert_eq!(choices.len(), 5);
}

#[tokio::test]
async fn openai_chat_tells_the_usage_in_a_last_chunk_to_those_who_ask() {
    let mut ask = ask(THREE, true);
    ask["stream_options"] = json!({"include_usage": true});
    let stream = text(post("/v1/chat/completions", &ask).await).await;
    let events = events(&stream);
    let (last, before) = events[..events.len() - 1].split_last().unwrap();
    let last = parsed(last.1);
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["prompt_tokens"], 3);
    assert_eq!(last["usage"]["completion_tokens"], 3);
    assert_eq!(last["usage"]["total_tokens"], 6);
    for (_, data) in before {
        assert_eq!(parsed(data).get("usage"), Some(&Value::Null));
    }
}

#[tokio::test]
async fn openai_chat_answers_whole_when_not_asked_to_stream() {
    let mut ask = ask(THREE, false);
    ask.as_object_mut().unwrap().remove("stream");
    let answer = value(post("/v1/chat/completions", &ask).await).await;
    assert_eq!(answer["object"], "chat.completion");
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["content"], "The answer comes");
    assert_eq!(choice["finish_reason"], "stop");
    assert_eq!(answer["usage"]["total_tokens"], 6);
}

#[tokio::test]
async fn anthropic_messages_stream_in_their_seven_kinds_of_events() {
    let response = post("/v1/messages", &ask(THREE, true)).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let stream = text(response).await;
    let events = events(&stream);
    let names: Vec<&str> = events.iter().map(|(name, _)| name.unwrap()).collect();
    assert_eq!(
        names,
        [
            "message_start",
            "content_block_start",
            "ping",
            "content_block_delta",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
    );
    for (name, data) in &events {
        assert_eq!(parsed(data)["type"], name.unwrap());
    }
    let start = parsed(events[0].1);
    assert_eq!(start["message"]["usage"]["input_tokens"], 3);
    assert_eq!(start["message"]["model"], THREE);
    let said = parsed(events[4].1);
    assert_eq!(said["delta"], json!({"type": "text_delta", "text": " answer"}));
    let delta = parsed(events[7].1);
    assert_eq!(delta["usage"]["output_tokens"], 3);
    assert_eq!(delta["delta"]["stop_reason"], "end_turn");
}

#[tokio::test]
async fn anthropic_messages_answer_whole_when_not_asked_to_stream() {
    let answer = value(post("/v1/messages", &ask(THREE, false)).await).await;
    assert_eq!(answer["type"], "message");
    assert_eq!(answer["content"], json!([{"type": "text", "text": "The answer comes"}]));
    assert_eq!(answer["usage"]["output_tokens"], 3);
}

#[tokio::test]
async fn ollama_chat_streams_lines_unless_told_not_to() {
    let mut unsaid = ask(THREE, true);
    unsaid.as_object_mut().unwrap().remove("stream");
    for ask in [ask(THREE, true), unsaid] {
        let response = post("/api/chat", &ask).await;
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        let stream = text(response).await;
        let lines: Vec<Value> = stream.lines().map(parsed).collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[1]["message"]["content"], " answer");
        assert_eq!(lines[1]["done"], false);
        assert_eq!(lines[3]["done"], true);
        assert_eq!(lines[3]["prompt_eval_count"], 3);
        assert_eq!(lines[3]["eval_count"], 3);
    }
    let answer = value(post("/api/chat", &ask(THREE, false)).await).await;
    assert_eq!(answer["message"]["content"], "The answer comes");
    assert_eq!(answer["done"], true);
}

#[tokio::test]
async fn an_error_event_is_the_last_thing_of_its_stream() {
    let model = "sim-gap=0ms-error=1";
    let stream = text(post("/v1/chat/completions", &ask(model, true)).await).await;
    let last = *events(&stream).last().unwrap();
    assert_eq!(last.0, None);
    assert_eq!(parsed(last.1)["error"]["type"], "server_error");

    let stream = text(post("/v1/messages", &ask(model, true)).await).await;
    let last = *events(&stream).last().unwrap();
    assert_eq!(last.0, Some("error"));
    assert_eq!(parsed(last.1)["error"]["type"], "overloaded_error");

    let stream = text(post("/api/chat", &ask(model, true)).await).await;
    let last = parsed(stream.lines().last().unwrap());
    assert!(last["error"].is_string());
}

#[tokio::test]
async fn an_error_status_has_the_body_of_its_dialect() {
    for stream in [true, false] {
        let ask = ask("sim-status=529", stream);
        let response = post("/v1/messages", &ask).await;
        assert_eq!(response.status().as_u16(), 529);
        let body = value(response).await;
        assert_eq!(body["type"], "error");
        assert_eq!(body["error"]["type"], "overloaded_error");

        let body = value(post("/v1/chat/completions", &ask).await).await;
        assert_eq!(body["error"]["type"], "server_error");
        assert_eq!(body["error"]["code"], Value::Null);

        let body = value(post("/api/chat", &ask).await).await;
        assert!(body["error"].is_string());
    }
    let response = post("/v1/messages", &ask("sim-error=1-gap=0ms", false)).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
}
