//! The service at the bottom of the stack: sends a request to the upstream and hands its answer back, bytes untouched.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};
use http_body::Body;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tower::{BoxError, Service};
use tower_lifeline::{exchange::Exchange, upload::UploadBody, usage::Dialect};

pub(crate) use self::{answer::Answer, error::ForwardError};
use self::{answer::Begin, upload::Upload};
use crate::upstream::{Protocol, Upstream};

mod answer;
mod error;
mod headers;
#[cfg(test)]
mod tests;
mod upload;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// What one HTTP/2 stream may have in flight ...
const STREAM_WINDOW: u32 = 256 * 1024;
/// ... and all of a connection together: so much that one slow reader never starves its siblings.
const CONNECTION_WINDOW: u32 = 256 * 1024 * 1024;

/// Sends requests to the upstream. Cheap to clone; all clones share the connections.
#[derive(Debug, Clone)]
pub(crate) struct Forward {
    upstream: Arc<Upstream>,
    client: Client,
}

#[derive(Debug, Clone)]
enum Client {
    Plain(legacy::Client<HttpConnector, UploadBody<Upload>>),
    Tls(legacy::Client<HttpsConnector<HttpConnector>, UploadBody<Upload>>),
}

impl Forward {
    /// Reads the platform's root certificates if the upstream is `https`: that is what can fail.
    pub(crate) fn new(upstream: Upstream) -> io::Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW);
        let client = match upstream.protocol() {
            Protocol::Http1 => Client::Plain(builder.build(tcp)),
            Protocol::Http2 => Client::Plain(builder.http2_only(true).build(tcp)),
            Protocol::Tls => {
                tcp.enforce_http(false);
                let tls = HttpsConnectorBuilder::new()
                    .with_provider_and_native_roots(rustls::crypto::ring::default_provider())?
                    .https_only()
                    .enable_all_versions()
                    .wrap_connector(tcp);
                Client::Tls(builder.build(tls))
            }
        };
        Ok(Self { upstream: Arc::new(upstream), client })
    }

    /// The same request as the upstream is to see it.
    fn readdress<B>(
        &self,
        request: Request<B>,
    ) -> Result<(Request<UploadBody<Upload>>, Begin), http::Error>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let protocol = self.upstream.protocol();
        let (parts, body) = request.into_parts();
        let mut headers = parts.headers;
        headers::make_upstream(&mut headers, protocol);
        if Dialect::detect(parts.uri.path(), None).is_some() {
            headers::ask_uncoded(&mut headers);
        }
        // hyper's client takes a GET of unknown length to have no body at all, unless this header says otherwise.
        if protocol != Protocol::Http2
            && body.size_hint().exact().is_none()
            && !body.is_end_stream()
            && !headers.contains_key(CONTENT_LENGTH)
        {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        // What was read ahead is not the upstream's before it takes it.
        let exchange = Exchange::get(&parts.extensions).unwrap_or_default();
        let (begin, begun) = answer::watch(exchange.clone());
        let upload = UploadBody::new(Upload::new(body, begun), &exchange);
        let mut request = Request::new(upload);
        *request.method_mut() = parts.method;
        *request.uri_mut() = self.upstream.uri(&parts.uri)?;
        *request.headers_mut() = headers;
        Ok((request, begin))
    }
}

impl<B> Service<Request<B>> for Forward
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Answer>;
    type Error = ForwardError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if request.method() == Method::CONNECT {
            return Box::pin(async { Err(ForwardError::Tunnel) });
        }
        let (request, begin) = match self.readdress(request) {
            Ok(readdressed) => readdressed,
            Err(error) => return Box::pin(async { Err(ForwardError::Target(error)) }),
        };
        let answer = match &self.client {
            Client::Plain(client) => client.request(request),
            Client::Tls(client) => client.request(request),
        };
        Box::pin(async move {
            let mut response = answer.await?;
            // An `Upgrade` is for one connection only and was not passed on.
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                return Err(ForwardError::Switched);
            }
            headers::strip_hop_by_hop(response.headers_mut());
            // Each side speaks its own version.
            *response.version_mut() = Version::default();
            Ok(response.map(|body| begin.answer(body)))
        })
    }
}
