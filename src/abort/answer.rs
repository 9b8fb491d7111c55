//! What is answered in place of a head that will never come.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use super::AbortReason;
use crate::{exchange::Exchange, grpc};

pub(super) type Answer = Arc<dyn Fn(&Exchange, &AbortReason) -> Response<Bytes> + Send + Sync>;

/// Answers for one exchange.
#[derive(Clone)]
pub(super) struct Answering {
    pub(super) exchange: Exchange,
    /// The request was a gRPC one.
    pub(super) grpc: bool,
    /// The user's function, where there is one.
    pub(super) answer: Option<Answer>,
}

impl Answering {
    pub(super) fn answer(&self, reason: &AbortReason) -> Response<Bytes> {
        if let Some(answer) = &self.answer {
            return answer(&self.exchange, reason);
        }
        if self.grpc {
            return grpc::trailers_only(reason.kind().grpc_code(), reason.text());
        }
        let mut response = Response::new(Bytes::from(format!("aborted: {reason}\n")));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
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
