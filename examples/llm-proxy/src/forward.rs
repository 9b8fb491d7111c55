//! The service at the bottom of the stack: sends a request to the upstream and hands its answer back, bytes untouched.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header::CONNECTION};
use http_body::Body;
use http_body_util::Either;
use tower::{BoxError, Service};

pub(crate) use self::{answer::Answer, error::ForwardError, websocket::WebSocket};
use self::{client::Clients, outgoing::Outgoing, upload::Budget, via::Via};
use crate::{heads::Size, upstream::Upstream};

mod again;
mod answer;
mod checks;
mod client;
mod error;
mod headers;
mod outgoing;
#[cfg(test)]
mod tests;
mod upload;
mod via;
mod websocket;

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
    clients: Clients,
    uploads: Budget,
    via: Via,
}

impl Forward {
    /// Reads the platform's root certificates if the upstream is `https`: that is what can fail.
    pub(crate) fn new(upstream: Upstream, limits: Limits) -> io::Result<Self> {
        let clients = Clients::new(upstream.protocol(), limits.idle)?;
        let uploads = Budget::new(limits.uploads);
        Ok(Self { upstream: Arc::new(upstream), clients, uploads, via: Via::new() })
    }

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
            Outgoing::new(request, &self.upstream, &self.uploads).map_err(ForwardError::Target)?;
        let Clients { mut pooled, mut fresh, websockets } = self.clients.clone();
        if upgrade.is_some() {
            pooled = websockets.ok_or(ForwardError::NoWebSocket)?;
            fresh = pooled.clone();
            websocket::say(&mut outgoing.head.headers);
        }
        Ok(async move {
            let first = pooled.request(outgoing.first(upload).await);
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
