//! What is answered in place of a stream that did not begin.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::{error::BoxError, exchange::Exchange, grpc};

/// Why a stream did not begin.
#[derive(Debug)]
#[non_exhaustive]
pub enum FailedStart {
    /// The stream itself said so: the data of its error event, or all that was held back when a predicate of your own
    /// gave [`Verdict::Failed`](super::Verdict::Failed).
    InBand(Bytes),
    /// The error of the body.
    Body(BoxError),
    /// The body ended cleanly, and nothing had begun.
    Ended,
}

impl fmt::Display for FailedStart {
    /// Says nothing of what the upstream said: this may go to a client.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InBand(_) => "the upstream sent an error in place of its response",
            Self::Body(_) => "the upstream failed before its response began",
            Self::Ended => "the upstream's response ended before it began",
        })
    }
}

pub(super) type Answer = Arc<dyn Fn(&FailedStart) -> Response<Bytes> + Send + Sync>;

/// Answers for one exchange.
pub(super) struct Answering {
    pub(super) exchange: Exchange,
    /// The request was a gRPC one.
    pub(super) grpc: bool,
    /// The user's function, where there is one.
    pub(super) answer: Option<Answer>,
}

impl Answering {
    pub(super) fn answer(&self, failed: &FailedStart) -> Response<Bytes> {
        // The failure is a response now, and another attempt may make it good.
        self.exchange.forgive();
        if let Some(answer) = &self.answer {
            return answer(failed);
        }
        if self.grpc {
            return grpc::trailers_only(14, &failed.to_string()); // UNAVAILABLE: may be tried again.
        }
        let mut response = Response::new(Bytes::from(format!("{failed}\n")));
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, text);
        response
    }
}

impl fmt::Debug for Answering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answering").field("grpc", &self.grpc).finish_non_exhaustive()
    }
}
