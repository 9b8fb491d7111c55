//! What the simulation needs to know of a request.

use serde_json::Value;

/// A request as the simulation understands it.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) model: String,
    pub(super) stream: Option<bool>,
    /// OpenAI: the usage comes in a chunk of its own, for those who ask.
    pub(super) include_usage: bool,
    /// A word is a token.
    pub(super) input_tokens: u64,
}

impl Ask {
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        let body: Value = serde_json::from_slice(body)
            .map_err(|error| format!("the body is no JSON: {error}"))?;
        let model = body["model"].as_str().ok_or("the body names no model")?.to_owned();
        Ok(Self {
            model,
            stream: body["stream"].as_bool(),
            include_usage: body["stream_options"]["include_usage"] == true,
            input_tokens: (words(&body["system"]) + words(&body["messages"])).max(1),
        })
    }
}

fn words(prompt: &Value) -> u64 {
    match prompt {
        Value::String(text) => text.split_whitespace().count() as u64,
        Value::Array(parts) => parts.iter().map(words).sum(),
        Value::Object(_) => words(&prompt["content"]) + words(&prompt["text"]),
        _ => 0,
    }
}
