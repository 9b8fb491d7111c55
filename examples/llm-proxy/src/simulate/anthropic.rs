//! Anthropic messages. The same request always gets the same bytes.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::{answer::Dialect, ask::Ask, manner::Manner};

pub(super) struct Anthropic {
    ask: Ask,
}

impl Anthropic {
    fn message(&self, content: &Value, stop_reason: Option<&str>, output_tokens: u32) -> Value {
        json!({
            "id": "msg_simulated",
            "type": "message",
            "role": "assistant",
            "model": self.ask.model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": null,
            "usage": {
                "input_tokens": self.ask.input_tokens,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": output_tokens,
            },
        })
    }
}

impl Dialect for Anthropic {
    const STREAM_TYPE: HeaderValue = HeaderValue::from_static("text/event-stream");

    fn new(ask: Ask, _: &Manner) -> Self {
        Self { ask }
    }

    fn opening(&self) -> Bytes {
        let message = self.message(&json!([]), None, 1);
        let block = json!({"type": "text", "text": ""});
        [
            event(&json!({"type": "message_start", "message": message})),
            event(&json!({"type": "content_block_start", "index": 0, "content_block": block})),
            event(&json!({"type": "ping"})),
        ]
        .concat()
        .into()
    }

    fn word(&self, word: &str) -> Bytes {
        let delta = json!({"type": "text_delta", "text": word});
        event(&json!({"type": "content_block_delta", "index": 0, "delta": delta})).into()
    }

    fn closing(&self, words: u32) -> Bytes {
        let delta = json!({"stop_reason": "end_turn", "stop_sequence": null});
        let usage = json!({"output_tokens": words});
        [
            event(&json!({"type": "content_block_stop", "index": 0})),
            event(&json!({"type": "message_delta", "delta": delta, "usage": usage})),
            event(&json!({"type": "message_stop"})),
        ]
        .concat()
        .into()
    }

    fn broken(&self, message: &str) -> Bytes {
        event(&json!({
            "type": "error",
            "error": {"type": "overloaded_error", "message": message},
        }))
        .into()
    }

    fn whole(&self, text: &str, words: u32) -> Value {
        let content = json!([{"type": "text", "text": text}]);
        self.message(&content, Some("end_turn"), words)
    }

    fn error(status: StatusCode, message: &str) -> Value {
        let kind = match status.as_u16() {
            400 => "invalid_request_error",
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            529 => "overloaded_error",
            _ => "api_error",
        };
        json!({"type": "error", "error": {"type": kind, "message": message}})
    }
}

/// An event is named after its type.
fn event(value: &Value) -> String {
    let name = value["type"].as_str().unwrap_or_default();
    format!("event: {name}\ndata: {value}\n\n")
}
