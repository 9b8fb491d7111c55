//! OpenAI chat completions. The same request always gets the same bytes.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::{answer::Dialect, ask::Ask, manner::Manner};

const ID: &str = "chatcmpl-simulated";
pub(super) const CREATED: u64 = 1_700_000_000;

pub(super) struct OpenAi {
    ask: Ask,
}

impl OpenAi {
    fn chunk(&self, delta: &Value, finish_reason: Option<&str>) -> String {
        let choice = json!({
            "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason,
        });
        self.event(&json!([choice]), Value::Null)
    }

    fn event(&self, choices: &Value, usage: Value) -> String {
        let mut chunk = json!({
            "id": ID,
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": self.ask.model,
            "choices": choices,
        });
        if self.ask.include_usage {
            chunk["usage"] = usage;
        }
        data(&chunk)
    }

    fn usage(&self, words: u32) -> Value {
        json!({
            "prompt_tokens": self.ask.input_tokens,
            "completion_tokens": words,
            "total_tokens": self.ask.input_tokens + u64::from(words),
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        })
    }
}

impl Dialect for OpenAi {
    const STREAM_TYPE: HeaderValue = HeaderValue::from_static("text/event-stream");

    fn new(ask: Ask, _: &Manner) -> Self {
        Self { ask }
    }

    fn opening(&self) -> Bytes {
        let delta = json!({"role": "assistant", "content": ""});
        self.chunk(&delta, None).into()
    }

    fn word(&self, word: &str) -> Bytes {
        self.chunk(&json!({"content": word}), None).into()
    }

    fn closing(&self, words: u32) -> Bytes {
        let mut text = self.chunk(&json!({}), Some("stop"));
        if self.ask.include_usage {
            text += &self.event(&json!([]), self.usage(words));
        }
        text += "data: [DONE]\n\n";
        text.into()
    }

    fn broken(&self, message: &str) -> Bytes {
        data(&Self::error(StatusCode::INTERNAL_SERVER_ERROR, message)).into()
    }

    fn whole(&self, text: &str, words: u32) -> Value {
        let message = json!({"role": "assistant", "content": text, "refusal": null});
        let choice = json!({
            "index": 0, "message": message, "logprobs": null, "finish_reason": "stop",
        });
        json!({
            "id": ID,
            "object": "chat.completion",
            "created": CREATED,
            "model": self.ask.model,
            "choices": [choice],
            "usage": self.usage(words),
        })
    }

    fn error(status: StatusCode, message: &str) -> Value {
        error(status, message)
    }
}

fn data(value: &Value) -> String {
    format!("data: {value}\n\n")
}

/// The body of an OpenAI error response.
pub(super) fn error(status: StatusCode, message: &str) -> Value {
    let kind = match status.as_u16() {
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    };
    json!({"error": {"message": message, "type": kind, "param": null, "code": null}})
}
