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
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING},
    request,
};
use http_body::Body;
use http_body_util::Either;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, ResponseFuture, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::{Instant, timeout_at};
use tower::{BoxError, Service};
use tower_lifeline::{error::ErrorChain, exchange::Exchange, upload::UploadBody, usage::Dialect};

pub(crate) use self::{answer::Answer, error::ForwardError, websocket::WebSocket};
use self::{
    answer::Begin,
    upload::{Budget, Source, Terms, Upload},
    via::Via,
};
use crate::{
    heads::{self, Size},
    socket::KEEPALIVE,
    upstream::{Protocol, Upstream},
};

mod again;
mod answer;
mod checks;
mod error;
mod headers;
#[cfg(test)]
mod tests;
mod upload;
mod via;
mod websocket;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// What one HTTP/2 stream may have in flight ...
const STREAM_WINDOW: u32 = 256 * 1024;
/// ... and all of a connection together: so much that one slow reader never starves its siblings.
const CONNECTION_WINDOW: u32 = 256 * 1024 * 1024;

/// A client that waits to be told that its body is wanted is told so after this time in any case.
const CONTINUE_TIME: Duration = Duration::from_secs(1);

/// What an upstream costs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    /// A connection that was idle for so long is not used again.
    pub(crate) idle: Option<Duration>,
    /// Memory of all request bodies that are read ahead or held.
    pub(crate) uploads: Option<usize>,
}

/// Sends requests to the upstream. Cheap to clone; all clones share the connections.
#[derive(Debug, Clone)]
pub(crate) struct Forward {
    upstream: Arc<Upstream>,
    client: Client,
    /// Makes a connection for each request.
    fresh: Client,
    /// The same for connections that become WebSockets; there are none to an HTTP/2 upstream.
    websockets: Option<Client>,
    uploads: Budget,
    via: Via,
}

#[derive(Debug, Clone)]
enum Client {
    Plain(legacy::Client<HttpConnector, UploadBody<Upload>>),
    Tls(legacy::Client<HttpsConnector<HttpConnector>, UploadBody<Upload>>),
}

impl Client {
    fn request(&self, request: Request<UploadBody<Upload>>) -> ResponseFuture {
        match self {
            Self::Plain(client) => client.request(request),
            Self::Tls(client) => client.request(request),
        }
    }
}

/// A request as the upstream is to see it, as often as it is sent.
#[derive(Debug)]
struct Outgoing {
    head: request::Parts,
    body: Source,
    exchange: Exchange,
    repeatable: bool,
    /// Until when the client's body, which waits to be asked for, is not asked for.
    patience: Option<Instant>,
}

impl Forward {
    /// Reads the platform's root certificates if the upstream is `https`: that is what can fail.
    pub(crate) fn new(upstream: Upstream, limits: Limits) -> io::Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_keepalive(Some(KEEPALIVE));
        tcp.set_keepalive_interval(Some(KEEPALIVE));
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(limits.idle)
            .http2_only(upstream.protocol() == Protocol::Http2)
            .http2_max_send_buf_size(STREAM_WINDOW as usize)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .http1_max_buf_size(heads::READ_BUFFER)
            .http1_max_headers(heads::READ_FIELDS)
            .http2_max_header_list_size(heads::LIST);
        let mut unpooled = builder.clone();
        unpooled.pool_max_idle_per_host(0);
        let mut websockets = None;
        let [client, fresh] = match upstream.protocol() {
            Protocol::Http1 | Protocol::Http2 => {
                [&builder, &unpooled].map(|builder| Client::Plain(builder.build(tcp.clone())))
            }
            Protocol::Tls => {
                tcp.enforce_http(false);
                let https = (tcp.clone(), websocket::tls()?);
                websockets = Some(Client::Tls(unpooled.build(HttpsConnector::from(https))));
                let tls = HttpsConnectorBuilder::new()
                    .with_provider_and_native_roots(rustls::crypto::ring::default_provider())?
                    .https_only()
                    .enable_all_versions()
                    .wrap_connector(tcp);
                [&builder, &unpooled].map(|builder| Client::Tls(builder.build(tls.clone())))
            }
        };
        if upstream.protocol() == Protocol::Http1 {
            websockets = Some(fresh.clone());
        }
        let uploads = Budget::new(limits.uploads);
        let via = Via::new();
        Ok(Self { upstream: Arc::new(upstream), client, fresh, websockets, uploads, via })
    }

    /// The same request as the upstream is to see it, and its body.
    fn readdress<B>(&self, request: Request<B>) -> Result<(Outgoing, Upload, Begin), http::Error>
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
        if body.is_end_stream() {
            headers::announce_no_body(&mut headers, &parts.method);
        } else if protocol != Protocol::Http2
            && body.size_hint().exact().is_none()
            && !headers.contains_key(CONTENT_LENGTH)
        {
            // hyper's client takes a GET of unknown length to have no body at all, unless this header says otherwise.
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        // A client of HTTP/1.0 does not wait (RFC 9110, 10.1.1).
        let expects = parts.version > Version::HTTP_10 && headers::expects_continue(&headers);
        let repeatable = again::is_repeatable(&parts.method, &headers);
        let exchange = Exchange::get(&parts.extensions).unwrap_or_default();
        let mut request = Request::new(());
        *request.method_mut() = parts.method;
        *request.uri_mut() = self.upstream.uri(&parts.uri)?;
        *request.headers_mut() = headers;
        // Over HTTP/1 what is not repeatable is sent once more only if nothing of it was sent before.
        let terms = Terms { keep: repeatable || protocol != Protocol::Http1, expects };
        let (begin, begun) = answer::watch(exchange.clone());
        let (body, upload) = Source::new(body, begun, &self.uploads, terms);
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
        let outgoing = Outgoing { head, body, exchange, repeatable, patience };
        Ok((outgoing, upload, begin))
    }
}

impl Outgoing {
    fn request(&self, upload: Upload) -> Request<UploadBody<Upload>> {
        // What was read ahead is not the upstream's before it takes it.
        Request::from_parts(self.head.clone(), UploadBody::new(upload, &self.exchange))
    }

    /// The request once more, if it may be, and if all of it is still here.
    fn again(&self, error: &legacy::Error) -> Option<Request<UploadBody<Upload>>> {
        if !again::is_allowed(error, self.repeatable) {
            return None;
        }
        let request = self.request(self.body.again()?);
        tracing::info!(error = %ErrorChain::of(error), "a request is sent to the upstream once more");
        Some(request)
    }

    /// Waits for the answer, and asks the client for its body when it has waited for long enough.
    async fn answer(
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

impl Forward {
    fn send<B>(
        &self,
        request: Request<B>,
    ) -> Result<impl Future<Output = Result<Reply, ForwardError>> + Send + use<B>, ForwardError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (mut head, body) = request.into_parts();
        if Size::of_request(&head) != Size::Fits {
            return Err(ForwardError::RequestHead);
        }
        checks::request(&head)?;
        self.via.pass(head.version, &mut head.headers)?;
        let mut request = Request::from_parts(head, body);
        if request.method() == Method::CONNECT {
            return Err(ForwardError::Tunnel);
        }
        let version = request.version();
        let upgrade = websocket::client_side(&mut request);
        let (mut outgoing, upload, begin) =
            self.readdress(request).map_err(ForwardError::Target)?;
        let (mut client, mut fresh) = (&self.client, &self.fresh);
        if upgrade.is_some() {
            client = self.websockets.as_ref().ok_or(ForwardError::NoWebSocket)?;
            fresh = client;
            websocket::say(&mut outgoing.head.headers);
        }
        let first = client.request(outgoing.request(upload));
        let fresh = fresh.clone();
        Ok(async move {
            let response = match outgoing.answer(first).await {
                Ok(response) => response,
                Err(error) => match outgoing.again(&error) {
                    Some(request) => outgoing.answer(fresh.request(request)).await?,
                    None => return Err(error.into()),
                },
            };
            let (head, body) = response.into_parts();
            if Size::of_response(&head) != Size::Fits {
                return Err(ForwardError::ResponseHead);
            }
            if checks::is_coded(&head.headers) {
                return Err(ForwardError::ResponseCoding);
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
            let mut response = response.map(|body| Either::Left(begin.answer(body)));
            // What the client sends next may be that body or another request.
            if outgoing.body.answered() && version < Version::HTTP_2 {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response)
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
