//! A request as the upstream is to see it, and when it is sent.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode, Version,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
    request,
};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::client::legacy::{self, ResponseFuture};
use tokio::time::{Instant, timeout_at};
use tower::BoxError;
use tower_lifeline::{error::ErrorChain, exchange::Exchange, usage::Dialect};

use super::{
    again,
    answer::{self, Begin},
    headers,
    upload::{Budget, Source, Terms, Upload},
};
use crate::upstream::{Protocol, Upstream};

/// A client that waits to be told that its body is wanted is told so after this time in any case. hyper can not tell one of
/// HTTP/2: that sends its body when it has waited for long enough, and until then, or until the upstream wants it, none
/// of it goes on.
const CONTINUE_TIME: Duration = Duration::from_secs(1);

/// A request, as often as it is sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) head: request::Parts,
    pub(super) body: Source,
    protocol: Protocol,
    repeatable: bool,
    /// Until when the client's body, which waits to be asked for, is not asked for.
    patience: Option<Instant>,
    /// Whether it may turn out to have no body.
    may_be_empty: bool,
}

impl Outgoing {
    /// The same request as the upstream is to see it, and its body.
    pub(super) fn new<B>(
        request: Request<B>,
        upstream: &Upstream,
        uploads: &Budget,
    ) -> Result<(Self, Upload, Begin), http::Error>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let protocol = upstream.protocol();
        let (parts, body) = request.into_parts();
        let mut headers = parts.headers;
        headers::make_upstream(&mut headers, protocol);
        if Dialect::detect(parts.uri.path(), None).is_some() {
            headers::ask_uncoded(&mut headers);
        }
        let unknown = protocol != Protocol::Http2
            && body.size_hint().exact().is_none()
            && !headers.contains_key(CONTENT_LENGTH);
        if body.is_end_stream() {
            headers::announce_no_body(&mut headers, &parts.method);
        } else if unknown {
            // hyper's client takes a GET of unknown length to have no body at all, unless this header says otherwise.
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        // A client of HTTP/1.0 does not wait (RFC 9110, 10.1.1).
        let expects = parts.version > Version::HTTP_10 && headers::expects_continue(&headers);
        let may_be_empty = unknown && parts.version == Version::HTTP_2 && !expects;
        let repeatable = again::is_repeatable(&parts.method, &headers);
        let exchange = Exchange::get(&parts.extensions).unwrap_or_default();
        let mut request = Request::new(());
        *request.method_mut() = parts.method;
        *request.uri_mut() = upstream.uri(&parts.uri)?;
        *request.headers_mut() = headers;
        // Over HTTP/1 what is not repeatable is sent once more only if nothing of it was sent before.
        let terms = Terms { keep: repeatable || protocol != Protocol::Http1, expects };
        let (begin, begun) = answer::watch(exchange);
        let (body, upload) = Source::new(body, begun, uploads, terms);
        if expects {
            let ask = body.asker();
            hyper::ext::on_informational(&mut request, move |interim| {
                if interim.status() == StatusCode::CONTINUE {
                    ask();
                }
            });
        }
        let patience = expects.then(|| Instant::now() + CONTINUE_TIME);
        let head = request.into_parts().0;
        Ok((Self { head, body, protocol, repeatable, patience, may_be_empty }, upload, begin))
    }

    /// What is sent first. A client of HTTP/2 may say only behind the head that there is no body.
    pub(super) async fn first(&mut self, mut upload: Upload) -> Request<Upload> {
        if self.may_be_empty
            && let Some(none) = self.body.proved_empty().await
        {
            upload = none;
            self.head.headers.remove(TRANSFER_ENCODING);
            headers::announce_no_body(&mut self.head.headers, &self.head.method);
        }
        Request::from_parts(self.head.clone(), upload)
    }

    /// The request once more, if it may be, and if all of it is still here.
    pub(super) fn again(&self, error: &legacy::Error) -> Option<Request<Upload>> {
        if !again::is_allowed(error, self.protocol, self.repeatable) {
            return None;
        }
        let request = Request::from_parts(self.head.clone(), self.body.again()?);
        tracing::info!(error = %ErrorChain::of(error), "a request is sent to the upstream once more");
        Some(request)
    }

    /// Waits for the answer, and asks the client for its body when it has waited for long enough.
    pub(super) async fn answer(
        &mut self,
        mut answer: ResponseFuture,
    ) -> Result<Response<Incoming>, legacy::Error> {
        if let Some(patience) = self.patience {
            if let Ok(answer) = timeout_at(patience, &mut answer).await {
                return answer;
            }
            self.body.ask();
            self.patience = None;
        }
        answer.await
    }
}
