//! Final frames that clients understand.

use bytes::Bytes;
use serde_json::json;

use super::{Failure, Final};
use crate::{exchange::Outcome, grpc, head::Media, sse::Event};

impl Final {
    /// The final frame for what the body is made of: [`sse_error`](Self::sse_error), [`ndjson_error`](Self::ndjson_error),
    /// [`grpc_status`](Self::grpc_status), and for everything else [`Final::Error`].
    pub fn by_media(failure: &Failure<'_>) -> Self {
        match failure.media {
            Media::EventStream => Self::sse_error(failure),
            Media::Ndjson => Self::ndjson_error(failure),
            Media::Grpc => Self::grpc_status(failure),
            Media::Other => Self::Error,
        }
    }

    /// An SSE event of the type `error` with a JSON object that most clients of language models take for the failure it
    /// is: 9 of 10 measured (usage_wire.md 2).
    ///
    /// `{"type":"error","error":{"type":T,"message":M,"code":C}}`: T is `aborted`, `timeout` or `upstream`, M is
    /// [`Failure::message`], C is [`Cause::client_code`](crate::exchange::Cause::client_code).
    pub fn sse_error(failure: &Failure<'_>) -> Self {
        // Built by hand for the order of its members, which `json!` does not keep.
        let event = Event::data(failure.to_json()).event("error");
        event.map_or(Self::Error, |event| Self::Data(event.to_bytes()))
    }

    /// The object of [`sse_error`](Self::sse_error) as a line.
    pub fn ndjson_error(failure: &Failure<'_>) -> Self {
        Self::Data(Bytes::from(failure.to_json() + "\n"))
    }

    /// gRPC trailers: the code of the abort's kind, 4 `DEADLINE_EXCEEDED` for a time limit, 13 `INTERNAL` for a panic, 14
    /// `UNAVAILABLE` for an upstream that failed; with [`Failure::message`].
    pub fn grpc_status(failure: &Failure<'_>) -> Self {
        let code = grpc::code(failure.cause);
        Self::Trailers(grpc::trailers(code, &failure.message()))
    }
}

impl Failure<'_> {
    fn to_json(&self) -> String {
        let kind = match self.cause.outcome() {
            Outcome::Aborted => "aborted",
            Outcome::TimedOut => "timeout",
            _ => "upstream",
        };
        let (message, code) = (json!(self.message()), json!(self.cause.client_code()));
        format!(
            r#"{{"type":"error","error":{{"type":"{kind}","message":{message},"code":{code}}}}}"#
        )
    }
}
