//! The ways in which providers talk, and how one is recognised.

use std::fmt;

use percent_encoding::percent_decode_str;

use super::{
    dialects::{self, Grammar},
    framing::Medium,
    members::{Found, Mark, Members, Node, Text},
};

/// What tells an error, and the dialects apart, in an event or in a whole response. A name alone tells nothing that others give
/// their members, too.
pub(super) const SIGNS: Members = &[
    ("jsonrpc", Node::Mark(Mark::JsonRpc)),
    ("error", Node::Mark(Mark::Error)),
    ("type", Node::Text(Text::Kind)),
    ("object", Node::Text(Text::Other)),
    ("choices", Node::Object(CHOICE)),
    ("candidates", Node::Object(CANDIDATE)),
    ("usageMetadata", Node::Mark(Mark::Candidate)),
    ("response", Node::Mark(Mark::Response)),
    ("sequence_number", Node::Named(Mark::Response)),
    ("created_at", Node::Named(Mark::CreatedAt)),
    ("done", Node::Named(Mark::Done)),
    ("delta", Node::Named(Mark::Delta)),
    ("message", Node::Mark(Mark::Message)),
    ("finish_reason", Node::Mark(Mark::FinishReason)),
    ("stop_reason", Node::Mark(Mark::StopReason)),
    ("stopReason", Node::Mark(Mark::CamelStopReason)),
];

/// What tells an error, where the dialect is certain.
pub(super) const CERTAIN_SIGNS: Members = &[
    ("jsonrpc", Node::Mark(Mark::JsonRpc)),
    ("error", Node::Mark(Mark::Error)),
    ("type", Node::Text(Text::Kind)),
];

/// Of OpenAI's chat.
const CHOICE: Members = &[
    ("delta", Node::Named(Mark::Choice)),
    ("finish_reason", Node::Named(Mark::Choice)),
    (
        "message",
        Node::Object(&[
            ("role", Node::Named(Mark::Choice)),
            ("content", Node::Named(Mark::Choice)),
        ]),
    ),
];

/// Of Gemini.
const CANDIDATE: Members = &[
    ("finishReason", Node::Named(Mark::Candidate)),
    (
        "content",
        Node::Object(&[
            ("role", Node::Named(Mark::Candidate)),
            ("parts", Node::Named(Mark::Candidate)),
        ]),
    ),
];

/// The way in which a provider talks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// OpenAI's chat completions, and all that look like them: Mistral, OpenRouter, llama.cpp, vLLM, Azure, DeepSeek, xAI.
    /// And what else of OpenAI's says its usage in the same place: embeddings, images, transcriptions, speech, runs of
    /// assistants. Their streams have no terminator.
    OpenAiChat,
    /// OpenAI's Responses.
    OpenAiResponses,
    /// Anthropic's Messages, and the "compatible" ones.
    Anthropic,
    /// Google's `generateContent` and `streamGenerateContent`.
    Gemini,
    /// Ollama's own API.
    Ollama,
    /// Cohere's chat, version 2.
    Cohere,
    /// AWS Bedrock's Converse and ConverseStream.
    BedrockConverse,
    /// AWS Bedrock's InvokeModel and InvokeModelWithResponseStream.
    BedrockInvoke,
}

impl Dialect {
    pub(super) const ALL: [Self; 8] = [
        Self::OpenAiChat,
        Self::OpenAiResponses,
        Self::Anthropic,
        Self::Gemini,
        Self::Ollama,
        Self::Cohere,
        Self::BedrockConverse,
        Self::BedrockInvoke,
    ];

    /// The stable name, for logs, metrics and databases.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAiChat => "openai_chat",
            Self::OpenAiResponses => "openai_responses",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Ollama => "ollama",
            Self::Cohere => "cohere",
            Self::BedrockConverse => "bedrock_converse",
            Self::BedrockInvoke => "bedrock_invoke",
        }
    }

    /// Guesses by the path of the request and the content type of the response, if there is one yet.
    ///
    /// | path | dialect |
    /// |---|---|
    /// | `…/completions` | OpenAI chat |
    /// | `…/embeddings`, `…/images/…`, `…/audio/…`, `…/threads/…/runs` | OpenAI chat, but see [`OpenAiChat`](Self::OpenAiChat) |
    /// | `…/responses`, `…/responses/ID` | OpenAI Responses |
    /// | `…/v1/messages`, `…/publishers/anthropic/…` | Anthropic |
    /// | `…:generateContent`, `…:streamGenerateContent` | Gemini |
    /// | `…/api/chat`, `…/api/generate`, `…/api/embed` | Ollama |
    /// | `…/v2/chat` | Cohere |
    /// | `…/converse`, `…/converse-stream` | Bedrock Converse |
    /// | `…/invoke`, `…/invoke-with-response-stream` | Bedrock Invoke |
    ///
    /// A content type in which the dialect does not talk makes it `None`.
    ///
    /// ```
    /// use tower_lifeline::usage::Dialect;
    ///
    /// assert_eq!(Dialect::detect("/openai/v1/chat/completions", None), Some(Dialect::OpenAiChat));
    /// assert_eq!(Dialect::detect("/api/chat", Some("application/x-ndjson")), Some(Dialect::Ollama));
    /// assert_eq!(Dialect::detect("/api/chat", Some("text/event-stream")), None);
    /// ```
    pub fn detect(path: &str, content_type: Option<&str>) -> Option<Self> {
        let medium = Medium::of_type(content_type.unwrap_or_default().as_bytes());
        Self::of_path(path).filter(|dialect| dialect.talks_in(medium))
    }

    pub(super) fn of_path(path: &str) -> Option<Self> {
        let path = path.split('?').next().unwrap_or_default().trim_end_matches('/');
        let path = &*percent_decode_str(path).decode_utf8_lossy(); // Some clients escape the colon.
        let ends = |ends: &[&str]| ends.iter().any(|end| path.ends_with(end));
        if ends(&["/completions"]) || is_openai_other(path) {
            Some(Self::OpenAiChat)
        } else if ends(&["/responses"]) || path.contains("/responses/") {
            Some(Self::OpenAiResponses)
        } else if ends(&["/v1/messages"]) || path.contains("/publishers/anthropic/") {
            Some(Self::Anthropic)
        } else if ends(&[":generateContent", ":streamGenerateContent"]) {
            Some(Self::Gemini)
        } else if ends(&["/api/chat", "/api/generate", "/api/embed"]) {
            Some(Self::Ollama)
        } else if ends(&["/v2/chat"]) {
            Some(Self::Cohere)
        } else if ends(&["/converse", "/converse-stream"]) {
            Some(Self::BedrockConverse)
        } else if ends(&["/invoke", "/invoke-with-response-stream"]) {
            Some(Self::BedrockInvoke)
        } else {
            None
        }
    }

    /// The model that is asked, where the path is all that tells.
    pub(super) fn model_of_path(self, path: &str) -> Option<String> {
        if !matches!(self, Self::BedrockConverse | Self::BedrockInvoke) {
            return None;
        }
        let model = path.split("/model/").nth(1)?.split('/').next()?;
        Some(percent_decode_str(model).decode_utf8().ok()?.into_owned())
    }

    /// Whether its responses have such a content type.
    pub(super) fn talks_in(self, medium: Medium) -> bool {
        match medium {
            Medium::Json | Medium::Unclear => true,
            Medium::Events => {
                !matches!(self, Self::Ollama | Self::BedrockConverse | Self::BedrockInvoke)
            }
            Medium::Lines => self == Self::Ollama,
            Medium::Frames => matches!(self, Self::BedrockConverse | Self::BedrockInvoke),
            Medium::Other => false,
        }
    }

    /// Recognises an event of such a stream by its type and its [`SIGNS`]; and whether it is one of OpenAI's that is no chat.
    pub(super) fn of_event(
        medium: Medium,
        event_type: &str,
        found: &Found,
    ) -> Option<(Self, bool)> {
        let kind = found.text(Text::Kind).unwrap_or(event_type);
        let object = found.text(Text::Other).unwrap_or_default();
        let other = is_other_event(kind, object);
        let dialect =
            if other { Some(Self::OpenAiChat) } else { Self::of_type(found, kind, object) };
        let whole = || if medium == Medium::Json { Self::of_whole(found, kind) } else { None };
        let dialect = dialect.or_else(whole)?;
        dialect.talks_in(medium).then_some((dialect, other))
    }

    fn of_type(found: &Found, kind: &str, object: &str) -> Option<Self> {
        if object.starts_with("chat.completion") || object == "text_completion" {
            Some(Self::OpenAiChat)
        } else if object == "response"
            || (kind.starts_with("response.") && found.has(Mark::Response))
        {
            Some(Self::OpenAiResponses)
        } else if kind == "message_start" && found.has(Mark::Message) {
            Some(Self::Anthropic)
        } else if kind == "message-start" && found.has(Mark::Delta) {
            Some(Self::Cohere)
        } else if found.has(Mark::Choice) {
            Some(Self::OpenAiChat)
        } else if found.has(Mark::Candidate) {
            Some(Self::Gemini)
        } else {
            let ollama = found.has(Mark::CreatedAt) && found.has(Mark::Done) && object.is_empty();
            ollama.then_some(Self::Ollama)
        }
    }

    /// Recognises a response that is no stream.
    fn of_whole(found: &Found, kind: &str) -> Option<Self> {
        if kind == "message" && found.has(Mark::StopReason) {
            Some(Self::Anthropic)
        } else if found.has(Mark::FinishReason) && found.has(Mark::Message) {
            Some(Self::Cohere)
        } else {
            found.has(Mark::CamelStopReason).then_some(Self::BedrockConverse)
        }
    }

    pub(super) fn grammar(self) -> &'static Grammar {
        match self {
            Self::OpenAiChat => &dialects::openai_chat::GRAMMAR,
            Self::OpenAiResponses => &dialects::openai_responses::GRAMMAR,
            Self::Anthropic => &dialects::anthropic::GRAMMAR,
            Self::Gemini => &dialects::gemini::GRAMMAR,
            Self::Ollama => &dialects::ollama::GRAMMAR,
            Self::Cohere => &dialects::cohere::GRAMMAR,
            Self::BedrockConverse => &dialects::bedrock::CONVERSE,
            Self::BedrockInvoke => &dialects::bedrock::INVOKE,
        }
    }
}

/// Whether OpenAI answers such a path, and not with a chat.
pub(super) fn is_openai_other(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default().trim_end_matches('/');
    let (before, last) = path.rsplit_once('/').unwrap_or_default();
    let of = |room: &str| before.ends_with(room);
    match last {
        "embeddings" => !of("/api"), // That is Ollama's, which says nothing.
        "generations" | "edits" | "variations" => of("/images"),
        "transcriptions" | "translations" | "speech" => of("/audio"),
        "runs" | "submit_tool_outputs" => before.contains("/threads"),
        _ => false,
    }
}

/// Whether it is an event or an object of those.
fn is_other_event(kind: &str, object: &str) -> bool {
    let kinds = ["transcript.text.", "speech.audio.", "image_generation.", "image_edit."];
    kinds.iter().any(|start| kind.starts_with(start)) || object.starts_with("thread.")
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
