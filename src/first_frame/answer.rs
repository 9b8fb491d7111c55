//! What is answered in place of a stream that did not begin.

use std::{error::Error, fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::{
    error::BoxError,
    exchange::{Cause, Exchange},
    grpc,
};

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

impl Error for FailedStart {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Body(error) => Some(&**error),
            Self::InBand(_) | Self::Ended => None,
        }
    }
}

impl FailedStart {
    /// Whether it is a time limit inside that was hit.
    fn timed_out(&self) -> bool {
        matches!(self, Self::Body(error) if matches!(Cause::failed(&**error), Cause::TimedOut(_)))
    }
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
        let (status, code) = match failed.timed_out() {
            true => (StatusCode::GATEWAY_TIMEOUT, 4), // As the limit itself answers before the head.
            false => (StatusCode::BAD_GATEWAY, 14),   // UNAVAILABLE: may be tried again.
        };
        if self.grpc {
            return grpc::trailers_only(code, &failed.to_string());
        }
        let mut response = Response::new(Bytes::from(format!("{failed}\n")));
        *response.status_mut() = status;
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
