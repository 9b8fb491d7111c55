//! The connections to the upstream.

use std::{io, time::Duration};

use http::Request;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, ResponseFuture, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

use super::{upload::Upload, websocket};
use crate::{heads, socket::KEEPALIVE, upstream::Protocol};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// What one HTTP/2 stream may have in flight ...
const STREAM_WINDOW: u32 = 256 * 1024;
/// ... and all of a connection together: so much that one slow reader never starves its siblings.
const CONNECTION_WINDOW: u32 = 256 * 1024 * 1024;

/// Cheap to clone; clones share the connections.
#[derive(Debug, Clone)]
pub(super) enum Client {
    Plain(legacy::Client<HttpConnector, Upload>),
    Tls(legacy::Client<HttpsConnector<HttpConnector>, Upload>),
}

impl Client {
    pub(super) fn request(&self, request: Request<Upload>) -> ResponseFuture {
        match self {
            Self::Plain(client) => client.request(request),
            Self::Tls(client) => client.request(request),
        }
    }
}

/// What sends requests to an upstream. Cheap to clone; clones share the connections.
#[derive(Debug, Clone)]
pub(super) struct Clients {
    pub(super) pooled: Client,
    /// Makes a connection for each request.
    pub(super) fresh: Client,
    /// The same for connections that become WebSockets; there are none to an HTTP/2 upstream.
    pub(super) websockets: Option<Client>,
}

impl Clients {
    /// Reads the platform's root certificates if the upstream speaks TLS: that is what can fail.
    pub(super) fn new(protocol: Protocol, idle: Option<Duration>) -> io::Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_keepalive(Some(KEEPALIVE));
        tcp.set_keepalive_interval(Some(KEEPALIVE));
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(idle)
            .http2_only(protocol == Protocol::Http2)
            .http2_max_send_buf_size(STREAM_WINDOW as usize)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .http1_max_buf_size(heads::READ_BUFFER)
            .http1_max_headers(heads::READ_FIELDS)
            .http2_max_header_list_size(heads::LIST);
        let mut unpooled = builder.clone();
        unpooled.pool_max_idle_per_host(0);
        let mut websockets = None;
        let [pooled, fresh] = match protocol {
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
        if protocol == Protocol::Http1 {
            websockets = Some(fresh.clone());
        }
        Ok(Self { pooled, fresh, websockets })
    }
}
