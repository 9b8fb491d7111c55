//! Asks for the usage in the client's place.

mod body;
mod future;
mod json;
mod strip;
#[cfg(test)]
mod tests;

use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

pub use self::{body::IncludeUsageBody, future::IncludeUsageFuture};
use super::Dialect;
pub use crate::held::HeldBody as IncludeUsageRequest;
use crate::{
    head::{is_encoded, is_signed},
    ready::{AlwaysReady, AlwaysReadyFuture},
};

/// Asks an OpenAI upstream for the usage of a stream, and takes it out of the answer again if the client did not ask for it.
///
/// Such an upstream says what a stream cost only if the request has `"stream_options":{"include_usage":true}`, and then in
/// one more chunk, with empty `choices`, at which some clients stumble.
///
/// ```
/// use std::{convert::Infallible, sync::{Arc, Mutex}};
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::{BodyExt, Full};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
/// use tower_lifeline::{
///     exchange::Exchange,
///     tee::TeeLayer,
///     usage::{IncludeUsageLayer, IncludeUsageRequest, UsageReport},
/// };
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let asked = Arc::new(Mutex::new(Bytes::new()));
/// let upstream = service_fn(|request: Request<IncludeUsageRequest<Full<Bytes>>>| {
///     let asked = asked.clone();
///     async move {
///         *asked.lock().unwrap() = request.into_body().collect().await.unwrap().to_bytes();
///         let answer = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n\
///                       data: {\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":3}}\n\n\
///                       data: [DONE]\n\n";
///         let response = Response::builder().header("content-type", "text/event-stream");
///         Ok::<_, Infallible>(response.body(Full::<Bytes>::from(answer)).unwrap())
///     }
/// });
/// // The meter stands inside: it sees what the client does not.
/// let layers = ServiceBuilder::new().layer(IncludeUsageLayer::new()).layer(TeeLayer::usage());
///
/// let question = "{\"model\": \"m-1\", \"stream\": true}";
/// let mut request = Request::post("/v1/chat/completions").body(Full::from(question)).unwrap();
/// let exchange = Exchange::of(&mut request);
/// let response = layers.service(upstream).oneshot(request).await.unwrap();
/// assert_eq!(
///     response.into_body().collect().await.unwrap().to_bytes(),
///     "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n\
///      data: [DONE]\n\n"
/// );
/// assert_eq!(
///     *asked.lock().unwrap(),
///     "{\"stream_options\":{\"include_usage\":true},\"model\": \"m-1\", \"stream\": true}"
/// );
/// assert_eq!(exchange.fact::<UsageReport>().unwrap().usage().output_tokens, Some(3));
/// # }
/// ```
///
/// | request | what happens |
/// |---|---|
/// | `POST …/completions`, a JSON object with `"stream":true` | it is read before the service is called |
/// | no `stream_options`, or `null`; in it no `include_usage`, or `false`, or `null` | that one member is written, and nothing else is touched; a `Content-Length` is made right |
/// | `"include_usage":true` | untouched, and so is its answer |
/// | a member of another type than it should be | untouched: the upstream judges it |
/// | a member that is there twice | the last counts, as in most parsers |
/// | no JSON, broken JSON, trailers, an error of the body | untouched |
/// | a body of more than 1 MiB ([`IncludeUsageLayer::request_limit`]) | untouched: what was read, then the rest as it comes |
/// | a content coding, a digest, a signature (RFC 9421, AWS) | untouched, and not read beforehand |
///
/// | answer, if the member was written | what happens |
/// |---|---|
/// | event with `"choices":[]` and a `usage` that is an object | is taken out, whole; nothing else is |
/// | event with `"choices":[]` and `"usage":null`, as Azure's first; usage beside a choice, as of Mistral and OpenRouter | stays |
/// | `"usage":null` in every chunk, as OpenAI writes it if asked | stays |
/// | whole events | are handed on at once |
/// | half of an event | is held back until it is whole, copied, at most 64 KiB; a larger event is passed through |
/// | trailers, end, error | what was held back goes out first, then they are handed on |
/// | `Content-Length` of an event stream | is taken away, since the length changes |
/// | not 2xx, not `text/event-stream`, a content coding, a digest, a signature, a range | untouched |
/// | client gone, abort | the inner body is dropped |
/// | service error | goes on to the caller |
///
/// Put it outside of [`TeeLayer::usage`](crate::tee::TeeLayer::usage) and of the
/// [`TerminatorGuardLayer`](super::TerminatorGuardLayer), so that they see the chunk, and inside of what faces the client. A
/// client that hangs up behind the last delta does so before that chunk: with a [`DetachLayer`](crate::detach) outside, it is
/// still read.
///
/// Put it only before upstreams that know the member: Mistral, which says the usage unasked, refuses it with a 422. The
/// content type of the request is not looked at, since many upstreams do not either. No body needs a known length: a request
/// without one is read, too.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct IncludeUsageLayer {
    request_limit: u64,
}

impl IncludeUsageLayer {
    /// Reads request bodies of at most 1 MiB.
    pub const fn new() -> Self {
        Self { request_limit: 1024 * 1024 }
    }

    /// Reads request bodies of at most so many `bytes`, instead of 1 MiB: images in a request are larger. It is held once or,
    /// while it is rewritten, three times.
    pub const fn request_limit(mut self, bytes: u64) -> Self {
        self.request_limit = bytes;
        self
    }
}

impl Default for IncludeUsageLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for IncludeUsageLayer {
    type Service = IncludeUsage<S>;

    fn layer(&self, inner: S) -> Self::Service {
        IncludeUsage { inner: AlwaysReady::new(inner), request_limit: self.request_limit }
    }
}

/// The service made by [`IncludeUsageLayer`].
#[derive(Clone, Debug)]
pub struct IncludeUsage<S> {
    inner: AlwaysReady<S>,
    request_limit: u64,
}

impl<S, A, B> Service<Request<A>> for IncludeUsage<S>
where
    S: Service<Request<IncludeUsageRequest<A>>, Response = Response<B>> + Clone,
    A: Body<Data = Bytes>,
    B: Body<Data = Bytes>,
{
    type Response = Response<IncludeUsageBody<B>>;
    type Error = S::Error;
    type Future = IncludeUsageFuture<
        AlwaysReady<S>,
        AlwaysReadyFuture<S, Request<IncludeUsageRequest<A>>>,
        A,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let may_ask = *request.method() == Method::POST
            && Dialect::of_path(request.uri().path()) == Some(Dialect::OpenAiChat)
            && request.body().size_hint().lower() <= self.request_limit
            && !is_encoded(request.headers())
            && !is_bound(request.headers());
        if !may_ask {
            let calling = self.inner.call(request.map(IncludeUsageRequest::untouched));
            return IncludeUsageFuture::pass(calling);
        }
        // The one that was asked whether it is ready is the one to be called.
        let clone = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, clone);
        IncludeUsageFuture::read(inner, request, self.request_limit)
    }
}

/// Whether something in the head speaks of exactly these bytes.
fn is_bound(headers: &HeaderMap) -> bool {
    let aws = |value: &http::HeaderValue| value.as_bytes().starts_with(b"AWS4-");
    is_signed(headers)
        || headers.contains_key("content-md5")
        || headers.get_all(header::AUTHORIZATION).iter().any(aws)
}
