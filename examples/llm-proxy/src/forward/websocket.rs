//! Upgrades to WebSocket, the only ones that are forwarded: any other would tunnel past everything.

use std::{io, sync::Arc};

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, Version,
    header::{CONNECTION, TE, UPGRADE},
};
use http_body::Body;
use http_body_util::Either;
use hyper::{
    body::Incoming,
    upgrade::{self, OnUpgrade, Upgraded},
};
use hyper_rustls::ConfigBuilderExt;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tower_lifeline::tunnel::{Tunnel, TunnelBody};

use super::{Answer, ForwardError, headers};

#[cfg(test)]
mod tests;

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// The bytes of a WebSocket.
pub(crate) type WebSocket = TunnelBody<TokioIo<Upgraded>, TokioIo<Upgraded>>;

/// For connections on which nothing but HTTP/1.1 is spoken, and that is said.
pub(super) fn tls() -> io::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_native_roots()?
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Takes the client's side out of a request for a WebSocket, if it is one: RFC 6455, 4.1.
pub(super) fn client_side<B: Body>(request: &mut Request<B>) -> Option<OnUpgrade> {
    let asks = request.version() == Version::HTTP_11
        && request.method() == Method::GET
        && request.body().is_end_stream()
        && names(request.headers());
    if asks { request.extensions_mut().remove() } else { None }
}

/// Whether the connection is to become a WebSocket, be it among others.
fn names(headers: &HeaderMap) -> bool {
    let lists = |name, token: &[u8]| {
        headers::tokens(headers, name).any(|listed| listed.eq_ignore_ascii_case(token))
    };
    lists(&CONNECTION, b"upgrade") && lists(&UPGRADE, b"websocket")
}

/// Says that the connection is to become a WebSocket, or has.
pub(super) fn say(headers: &mut HeaderMap) {
    headers.remove(TE);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, WEBSOCKET);
}

/// Connects both sides, now that the upstream has switched.
pub(super) async fn connect(
    client: OnUpgrade,
    mut response: Response<Incoming>,
) -> Result<Response<Either<Answer, WebSocket>>, ForwardError> {
    if !names(response.headers()) {
        return Err(ForwardError::Switched);
    }
    let upstream = upgrade::on(&mut response).await.map_err(ForwardError::Upgrade)?;
    let client = async { client.await.map(TokioIo::new) };
    let mut response = response
        .map(|_| Either::Right(TunnelBody::new(client, TokioIo::new(upstream)).websocket()));
    headers::strip_hop_by_hop(response.headers_mut());
    say(response.headers_mut());
    response.extensions_mut().insert(Tunnel);
    Ok(response)
}
