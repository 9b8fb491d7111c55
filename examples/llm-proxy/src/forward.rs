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
use http_body_util::Either;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tower::{BoxError, Service};
use tower_lifeline::usage::Dialect;

pub(crate) use self::{answer::Answer, error::ForwardError, websocket::WebSocket};
use self::{answer::Begin, upload::Upload};
use crate::{
    heads::{self, Size},
    socket::KEEPALIVE,
    upstream::{Protocol, Upstream},
};

mod answer;
mod error;
mod headers;
#[cfg(test)]
mod tests;
mod upload;
mod websocket;

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
    /// Of connections that become WebSockets; there are none to an HTTP/2 upstream.
    websockets: Option<Client>,
}

#[derive(Debug, Clone)]
enum Client {
    Plain(legacy::Client<HttpConnector, Upload>),
    Tls(legacy::Client<HttpsConnector<HttpConnector>, Upload>),
}

impl Forward {
    /// Reads the platform's root certificates if the upstream is `https`: that is what can fail.
    pub(crate) fn new(upstream: Upstream) -> io::Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_keepalive(Some(KEEPALIVE));
        tcp.set_keepalive_interval(Some(KEEPALIVE));
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .http1_max_buf_size(heads::READ_BUFFER)
            .http1_max_headers(heads::READ_FIELDS)
            .http2_max_header_list_size(heads::LIST);
        // A connection that was one once is no other again.
        let mut once = builder.clone();
        once.pool_max_idle_per_host(0);
        let mut websockets = None;
        let client = match upstream.protocol() {
            Protocol::Http1 => {
                websockets = Some(Client::Plain(once.build(tcp.clone())));
                Client::Plain(builder.build(tcp))
            }
            Protocol::Http2 => Client::Plain(builder.http2_only(true).build(tcp)),
            Protocol::Tls => {
                tcp.enforce_http(false);
                let https = (tcp.clone(), websocket::tls()?);
                websockets = Some(Client::Tls(once.build(HttpsConnector::from(https))));
                let tls = HttpsConnectorBuilder::new()
                    .with_provider_and_native_roots(rustls::crypto::ring::default_provider())?
                    .https_only()
                    .enable_all_versions()
                    .wrap_connector(tcp);
                Client::Tls(builder.build(tls))
            }
        };
        Ok(Self { upstream: Arc::new(upstream), client, websockets })
    }

    /// The same request as the upstream is to see it.
    fn readdress<B>(&self, request: Request<B>) -> Result<(Request<Upload>, Begin), http::Error>
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
        let (begin, begun) = answer::watch();
        let mut request = Request::new(Upload::new(body, begun));
        *request.method_mut() = parts.method;
        *request.uri_mut() = self.upstream.uri(&parts.uri)?;
        *request.headers_mut() = headers;
        Ok((request, begin))
    }
}

impl Forward {
    fn send<B>(
        &self,
        request: Request<B>,
    ) -> Result<impl Future<Output = Result<Reply, ForwardError>> + Send + use<B>, ForwardError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (head, body) = request.into_parts();
        if Size::of_request(&head) != Size::Fits {
            return Err(ForwardError::RequestHead);
        }
        let mut request = Request::from_parts(head, body);
        if request.method() == Method::CONNECT {
            return Err(ForwardError::Tunnel);
        }
        let upgrade = websocket::client_side(&mut request);
        let (mut request, begin) = self.readdress(request).map_err(ForwardError::Target)?;
        let mut client = &self.client;
        if upgrade.is_some() {
            client = self.websockets.as_ref().ok_or(ForwardError::NoWebSocket)?;
            websocket::say(request.headers_mut());
        }
        let answer = match client {
            Client::Plain(client) => client.request(request),
            Client::Tls(client) => client.request(request),
        };
        Ok(async move {
            let (head, body) = answer.await?.into_parts();
            if Size::of_response(&head) != Size::Fits {
                return Err(ForwardError::ResponseHead);
            }
            let mut response = Response::from_parts(head, body);
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                // Any other `Upgrade` is for one connection only and was not passed on.
                let upgrade = upgrade.ok_or(ForwardError::Switched)?;
                return websocket::connect(upgrade, response).await;
            }
            headers::strip_hop_by_hop(response.headers_mut());
            // Each side speaks its own version.
            *response.version_mut() = Version::default();
            Ok(response.map(|body| Either::Left(begin.answer(body))))
        })
    }
}

type Reply = Response<Either<Answer, WebSocket>>;

impl<B> Service<Request<B>> for Forward
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Either<Answer, WebSocket>>;
    type Error = ForwardError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.send(request) {
            Ok(answer) => Box::pin(answer),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }
}
