//! What is answered in place of a head that will never come.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::{
    exchange::{Cause, Exchange},
    grpc,
};

/// The user's own answer; `None` for a cause that it does not know.
pub(crate) type Answer = Arc<dyn Fn(&Exchange, &Cause) -> Option<Response<Bytes>> + Send + Sync>;

/// Answers for one exchange.
#[derive(Clone)]
pub(crate) struct Answering {
    pub(crate) exchange: Exchange,
    /// The request was a gRPC one.
    pub(crate) grpc: bool,
    pub(crate) answer: Option<Answer>,
}

impl Answering {
    pub(super) fn answer(&self, cause: &Cause) -> Response<Bytes> {
        let own = self.answer.as_ref().and_then(|answer| answer(&self.exchange, cause));
        own.unwrap_or_else(|| self.default(cause))
    }

    fn default(&self, cause: &Cause) -> Response<Bytes> {
        let message = cause.client_message();
        if self.grpc {
            return grpc::trailers_only(grpc::code(cause), &message);
        }
        let (status, text) = match cause {
            Cause::TimedOut(timed_out) => (timed_out.status(), format!("{message}\n")),
            Cause::Aborted(_) => (StatusCode::SERVICE_UNAVAILABLE, format!("aborted: {message}\n")),
            _ => (StatusCode::SERVICE_UNAVAILABLE, format!("{message}\n")),
        };
        let mut response = Response::new(Bytes::from(text));
        *response.status_mut() = status;
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, plain);
        if status == StatusCode::REQUEST_TIMEOUT {
            // RFC 9110, 15.5.9: the rest of the request is not waited for. hyper leaves the field out of HTTP/2.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl fmt::Debug for Answering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answering").field("grpc", &self.grpc).finish_non_exhaustive()
    }
}
