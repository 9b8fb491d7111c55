//! The response future that reads the request before it calls the service.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header, request::Parts};
use http_body::Body;
use pin_project::pin_project;
use tower_service::Service;

use super::{IncludeUsageBody, IncludeUsageRequest, json::Splice};
use crate::{
    head::{Media, is_unbound},
    held::Held,
};

/// The response future of [`IncludeUsage`](super::IncludeUsage).
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct IncludeUsageFuture<S, F, A: Body> {
    /// `None` once the service was called.
    reading: Option<Reading<S, A>>,
    #[pin]
    calling: Option<F>,
    /// It was us who asked.
    added: bool,
}

struct Reading<S, A: Body> {
    inner: S,
    request: Parts,
    body: Held<A>,
    limit: u64,
}

impl<S, F, A: Body<Data = Bytes>> IncludeUsageFuture<S, F, A> {
    /// Waits for a service that was called.
    pub(super) const fn pass(calling: F) -> Self {
        Self { reading: None, calling: Some(calling), added: false }
    }

    /// Reads the request, and calls the service then.
    pub(super) fn read(inner: S, request: Request<A>, limit: u64) -> Self {
        let (request, body) = request.into_parts();
        let reading = Reading { inner, request, body: Held::new(body, None), limit };
        Self { reading: Some(reading), calling: None, added: false }
    }
}

/// Writes what is missing into a request that was read. Returns whether anything was.
fn ask<A: Body<Data = Bytes>>(request: &mut Parts, body: &mut Held<A>) -> bool {
    let json = body.data().unwrap_or_default();
    let Some(splice) = Splice::of(&json) else { return false };
    let json = splice.apply(&json);
    if request.headers.contains_key(header::CONTENT_LENGTH) {
        request.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(json.len()));
    }
    body.replace(json);
    true
}

impl<S, A, B> Future for IncludeUsageFuture<S, S::Future, A>
where
    S: Service<Request<IncludeUsageRequest<A>>, Response = Response<B>>,
    A: Body<Data = Bytes>,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<IncludeUsageBody<B>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(reading) = this.reading {
            let whole = ready!(reading.body.read(reading.limit, cx));
            let Some(mut read) = this.reading.take() else { return Poll::Pending };
            *this.added = whole && ask(&mut read.request, &mut read.body);
            let request = Request::from_parts(read.request, IncludeUsageRequest::held(read.body));
            this.calling.set(Some(read.inner.call(request)));
        }
        let Some(calling) = this.calling.as_mut().as_pin_mut() else {
            return Poll::Pending; // Polled after its end, which futures may answer as they like.
        };
        let result = ready!(calling.poll(cx));
        this.calling.set(None);
        let (mut head, body) = result?.into_parts();
        let strips = *this.added
            && head.status.is_success()
            && Media::of(&head.headers) == Media::EventStream
            && is_unbound(&Method::POST, &head, &body);
        if strips {
            head.headers.remove(header::CONTENT_LENGTH);
        }
        let body =
            if strips { IncludeUsageBody::new(body) } else { IncludeUsageBody::untouched(body) };
        Poll::Ready(Ok(Response::from_parts(head, body)))
    }
}

impl<S, F, A: Body> fmt::Debug for IncludeUsageFuture<S, F, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncludeUsageFuture").field("added", &self.added).finish_non_exhaustive()
    }
}
