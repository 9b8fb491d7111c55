//! What lets a page of another origin ask the proxy: the Fetch standard's CORS.

use std::{
    convert::Infallible,
    pin::Pin,
    str::FromStr,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_REQUEST_HEADERS,
        ACCESS_CONTROL_REQUEST_METHOD, CONTENT_LENGTH, ORIGIN, VARY,
    },
};
use http_body_util::{Either, Empty};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};

use crate::label::EXCHANGE_ID;

#[cfg(test)]
mod tests;

/// How long a browser may remember an answer; none does so for longer.
const MAX_AGE: Duration = Duration::from_secs(2 * 60 * 60);

/// An origin whose pages are let in, or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Any,
    One(HeaderValue),
}

impl FromStr for Origin {
    type Err = &'static str;

    /// As a browser writes it in `Origin`, since that is what it is compared with.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SHAPE: &str =
            "write `*`, or an origin as browsers do: https://chat.example or http://localhost:3000";
        if text == "*" {
            return Ok(Self::Any);
        }
        let uri: Uri = text.parse().map_err(|_| SHAPE)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(SHAPE);
        };
        if text != format!("{scheme}://{authority}") || authority.host().is_empty() {
            return Err("it has no path, no query and no slash at its end");
        }
        if text.contains('*') {
            return Err("`*` stands for all of them, and not for a part of one");
        }
        if authority.as_str().contains('@') {
            return Err("it has no user name");
        }
        if text.chars().any(|c| c.is_ascii_uppercase()) {
            return Err("browsers write it in lower case");
        }
        if matches!((scheme, authority.port_u16()), ("http", Some(80)) | ("https", Some(443)))
            || authority.as_str().ends_with(':')
        {
            return Err("browsers leave the default port out");
        }
        HeaderValue::from_str(text).map(Self::One).map_err(|_| SHAPE)
    }
}

/// Lets the pages of these origins in. With none of them it does nothing, and what the upstream says of CORS passes.
///
/// A preflight is answered here. It is no exchange: nothing is asked of the upstream, and there is nothing to account for.
#[derive(Clone, Debug)]
pub(crate) struct Cors {
    rules: Option<CorsLayer>,
}

impl Cors {
    pub(crate) fn new(origins: &[Origin]) -> Self {
        let named: Option<Vec<_>> = origins
            .iter()
            .map(|origin| match origin {
                Origin::Any => None,
                Origin::One(origin) => Some(origin.clone()),
            })
            .collect();
        let origins = match named {
            Some(none) if none.is_empty() => return Self { rules: None },
            Some(origins) => AllowOrigin::list(origins),
            None => AllowOrigin::any(),
        };
        // `*` would not cover `authorization`, so what is asked for is named.
        let rules = CorsLayer::new()
            .allow_origin(origins)
            .allow_methods(AllowMethods::mirror_request())
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers([EXCHANGE_ID, HeaderName::from_static("*")])
            .max_age(MAX_AGE);
        Self { rules: Some(rules) }
    }
}

impl<S> Layer<S> for Cors {
    type Service = WithCors<S>;

    fn layer(&self, inner: S) -> WithCors<S> {
        WithCors { inner, rules: self.rules.clone() }
    }
}

/// The service made by [`Cors`].
#[derive(Clone, Debug)]
pub(crate) struct WithCors<S> {
    inner: S,
    rules: Option<CorsLayer>,
}

impl<S, A, B> Service<Request<A>> for WithCors<S>
where
    S: Service<Request<A>, Response = Response<B>, Error = Infallible>,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<Either<B, Empty<Bytes>>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let Some(rules) = &self.rules else {
            let answer = self.inner.call(request);
            return Box::pin(async { Ok(answer.await?.map(Either::Left)) });
        };
        let preflight = is_preflight(request.method(), request.headers());
        let said = says(rules, request.headers(), preflight);
        if preflight {
            return Box::pin(async {
                let mut answer = Response::new(Either::Right(Empty::new()));
                *answer.headers_mut() = said.await;
                answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
                Ok(answer)
            });
        }
        let answer = self.inner.call(request);
        Box::pin(async {
            let mut answer = answer.await?.map(Either::Left);
            say(said.await, answer.headers_mut());
            Ok(answer)
        })
    }
}

/// Any other OPTIONS is for the upstream.
fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The headers that the rules give for a request. [`CorsLayer`] itself takes every OPTIONS for a preflight, and leaves what the
/// upstream says to the origins that are not let in: so it is asked by the side.
fn says(
    rules: &CorsLayer,
    headers: &HeaderMap,
    preflight: bool,
) -> impl Future<Output = HeaderMap> + Send + use<> {
    let mut asked = Request::new(());
    *asked.method_mut() = if preflight { Method::OPTIONS } else { Method::GET };
    for name in [ORIGIN, ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_REQUEST_HEADERS] {
        for value in headers.get_all(&name) {
            asked.headers_mut().append(name.clone(), value.clone());
        }
    }
    let rules =
        rules.layer(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(())) }));
    async move {
        let Ok(answer) = rules.oneshot(asked).await;
        answer.into_parts().0.headers
    }
}

/// Says it in the upstream's place.
fn say(said: HeaderMap, headers: &mut HeaderMap) {
    for name in [
        ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_ALLOW_CREDENTIALS,
        ACCESS_CONTROL_EXPOSE_HEADERS,
    ] {
        headers.remove(name);
    }
    let mut last = None;
    for (name, value) in said {
        // Only the first value of a name comes with it.
        last = name.or(last);
        if let Some(name) = &last {
            match *name {
                // The upstream's own dependencies stay.
                VARY => drop(headers.append(name, value)),
                _ => drop(headers.insert(name, value)),
            }
        }
    }
}
