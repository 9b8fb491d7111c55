//! Ollama chat. The same request always gets the same bytes.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::{answer::Dialect, ask::Ask, manner::Manner};

pub(super) struct Ollama {
    ask: Ask,
    generation: Duration,
}

impl Ollama {
    fn part(&self, text: &str) -> Value {
        json!({
            "model": self.ask.model,
            "created_at": "2023-11-14T22:13:20Z",
            "message": {"role": "assistant", "content": text},
            "done": false,
        })
    }

    fn last(&self, text: &str, words: u32) -> Value {
        let nanos = u64::try_from(self.generation.as_nanos()).unwrap_or(u64::MAX);
        let mut last = self.part(text);
        last["done"] = json!(true);
        last["done_reason"] = json!("stop");
        last["total_duration"] = json!(nanos);
        last["load_duration"] = json!(0);
        last["prompt_eval_count"] = json!(self.ask.input_tokens);
        last["prompt_eval_duration"] = json!(0);
        last["eval_count"] = json!(words);
        last["eval_duration"] = json!(nanos);
        last
    }
}

impl Dialect for Ollama {
    const STREAM_TYPE: HeaderValue = HeaderValue::from_static("application/x-ndjson");
    const STREAMS_UNASKED: bool = true;

    fn new(ask: Ask, manner: &Manner) -> Self {
        Self { ask, generation: manner.total() }
    }

    fn opening(&self) -> Bytes {
        Bytes::new()
    }

    fn word(&self, word: &str) -> Bytes {
        line(&self.part(word))
    }

    fn closing(&self, words: u32) -> Bytes {
        line(&self.last("", words))
    }

    fn broken(&self, message: &str) -> Bytes {
        line(&json!({"error": message}))
    }

    fn whole(&self, text: &str, words: u32) -> Value {
        self.last(text, words)
    }

    fn error(_: StatusCode, message: &str) -> Value {
        json!({"error": message})
    }
}

fn line(value: &Value) -> Bytes {
    format!("{value}\n").into()
}
