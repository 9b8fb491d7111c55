//! The ready-made key: all of a request but what can change nothing.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, Method,
    header::{CONNECTION, HOST, UPGRADE},
    request::Parts,
    uri::{Authority, PathAndQuery},
};

use super::{
    Key, MakeKey,
    key::KeyHash,
    policy::{directives, tokens},
    stateless::is_stateless,
};

/// Headers that are not in the key, sorted. They are about one connection, or repeat what is in the key anyhow, or name the
/// client's software, or name one request for tracing.
const IGNORED: [&str; 26] = [
    "b3",
    "baggage",
    "cf-ray",
    "connection",
    "content-length",
    "date",
    "expect",
    "host",
    "keep-alive",
    "request-id",
    "sentry-trace",
    "te",
    "traceparent",
    "tracestate",
    "uber-trace-id",
    "user-agent",
    "via",
    "x-amzn-trace-id",
    "x-client-request-id",
    "x-cloud-trace-context",
    "x-correlation-id",
    "x-envoy-attempt-count",
    "x-envoy-expected-rq-timeout-ms",
    "x-ms-client-request-id",
    "x-request-id",
    "x-request-start",
];

/// And all that begin so: of Zipkin, of Datadog, and what OpenAI's and Anthropic's own clients say of themselves.
const IGNORED_PREFIXES: [&str; 3] = ["x-b3-", "x-datadog-", "x-stainless-"];

/// The ready-made key: method, authority, path, query, body, and **every** header but those of a closed list that can change
/// nothing, all byte for byte.
///
/// Nobody knows the next header by which somebody tells clients apart, or by which an answer becomes another one. So one that is
/// not known is part of the key: to call the service once more costs money once, to give one client the answer of another
/// costs trust.
///
/// | header | in the key |
/// |---|---|
/// | `connection`, `keep-alive`, `te`, `content-length`, `date`, `user-agent`, `via`, `expect` | no |
/// | `host` | no; the authority is, be it there or in the URI |
/// | `traceparent`, `tracestate`, `baggage`, `b3`, `x-b3-*`, `x-request-id`, `x-correlation-id`, `x-client-request-id`, `x-ms-client-request-id`, `request-id`, `x-amzn-trace-id`, `x-cloud-trace-context`, `cf-ray`, `x-request-start`, `sentry-trace`, `x-datadog-*`, `uber-trace-id`, `x-envoy-attempt-count`, `x-envoy-expected-rq-timeout-ms`, `x-stainless-*` | no |
/// | what [`ignore`](Self::ignore) names | no |
/// | any other, `accept-encoding`, `x-forwarded-for` and the like among them, for an address may be all that tells who asks | yes, with all its values in their order |
///
/// A header that is not in the key counts all the same where the answer's `vary` names it: see [the module](super).
///
/// Where a proxy in front adds a header that is another one for each request, as an address or an id of its own, no two requests
/// are equal until it is ignored. What tells clients apart only by a certificate or by the address of the connection is not in
/// the request, and needs a key of your own.
///
/// | request | key |
/// |---|---|
/// | POST that asks a language model and leaves nothing behind: `…/completions`, `…/embeddings`, `…/v1/messages`, `…:generateContent`, `…:streamGenerateContent`, `…/api/chat`, `…/api/generate`, `…/api/embed`, `…/v2/chat`, `…/v1/chat` | yes |
/// | the same, with a member that asks for something to be kept, at the top level of its body: `store`, `deferred` of `…/completions`, `conversation_id` of `…/v1/chat` | no |
/// | POST `…/responses` | only with `"store":false`, and without `background`, `conversation` and `previous_response_id` |
/// | these two, and the body is no JSON object, is broken, or has a content coding | no |
/// | any other | only if [`also`](Self::also) names it |
/// | `idempotency-key`: it is to be done once, and whoever says so has a reason | no |
/// | `cache-control: no-cache` or `no-store` | no |
/// | `upgrade`; a header that is in the key and that `connection` names, for then it is not passed on | no |
/// | two hosts, one in the URI and another in the header | no |
///
/// ```
/// use http::{HeaderName, Method, Request};
/// use tower_lifeline::replay::{MakeKey, RequestKey};
///
/// let key = RequestKey::new()
///     .also(Method::POST, "/ask")
///     .ignore(HeaderName::from_static("x-forwarded-for"));
/// let asked = |path: &str, tenant: &str, address: &str| {
///     let request = Request::post(path).header("x-tenant", tenant).header("x-forwarded-for", address);
///     key.key(&request.body(()).unwrap().into_parts().0, &["6 * 7?".into()])
/// };
/// assert!(asked("/ask", "a", "192.0.2.1").is_some());
/// assert_eq!(asked("/ask", "a", "192.0.2.1"), asked("/ask", "a", "192.0.2.2"));
/// assert_ne!(asked("/ask", "a", "192.0.2.1"), asked("/ask", "b", "192.0.2.1"));
/// assert_eq!(asked("/threads", "a", "192.0.2.1"), None);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct RequestKey {
    ignored: Vec<HeaderName>,
    also: Vec<(Method, String)>,
}

impl RequestKey {
    /// Makes the key of what is said above.
    pub const fn new() -> Self {
        Self { ignored: Vec::new(), also: Vec::new() }
    }

    /// Takes one more header out of the key.
    ///
    /// **It must tell nobody apart**, or one client gets what belongs to another.
    pub fn ignore(mut self, name: HeaderName) -> Self {
        self.ignored.push(name);
        self
    }

    /// Gives a key to all requests of this method whose path begins so, too, whatever is in their bodies. Of the paths above,
    /// what is said there holds.
    ///
    /// **They must leave nothing behind**: a second one does not reach the service.
    pub fn also(mut self, method: Method, path_prefix: impl Into<String>) -> Self {
        self.also.push((method, path_prefix.into()));
        self
    }

    fn is_ignored(&self, name: &HeaderName) -> bool {
        let text = name.as_str();
        IGNORED.binary_search(&text).is_ok()
            || IGNORED_PREFIXES.iter().any(|prefix| text.starts_with(prefix))
            || self.ignored.contains(name)
    }

    /// Whether what it does can be done once for several.
    fn is_replayable(&self, request: &Parts, body: Option<&[Bytes]>) -> bool {
        let path = request.uri.path();
        let stateless = (request.method == Method::POST).then(|| is_stateless(request, body));
        stateless.flatten().unwrap_or_else(|| {
            let also = |(method, prefix): &(Method, String)| {
                *method == request.method && path.starts_with(prefix)
            };
            self.also.iter().any(also)
        })
    }

    /// Whether `connection` takes away a header of which the key would say that it is there (RFC 9110, 7.6.1).
    fn loses_a_header(&self, headers: &HeaderMap) -> bool {
        let named =
            tokens(headers, &CONNECTION).filter_map(|name| HeaderName::from_bytes(name).ok());
        let mut named = named.filter(|name: &HeaderName| !self.is_ignored(name));
        named.any(|name| headers.contains_key(name))
    }
}

impl MakeKey for RequestKey {
    fn may_have_key(&self, request: &Parts) -> bool {
        let headers = &request.headers;
        let authority = request.uri.authority().map(Authority::as_str);
        let mut hosts = headers.get_all(HOST).iter();
        self.is_replayable(request, None)
            && !headers.contains_key("idempotency-key")
            && !headers.contains_key(UPGRADE)
            && !directives(headers).any(|said| said == "no-cache" || said == "no-store")
            && !authority.is_some_and(|named| hosts.any(|host| host.as_bytes() != named.as_bytes()))
            && !self.loses_a_header(headers)
    }

    fn key(&self, request: &Parts, body: &[Bytes]) -> Option<Key> {
        if !self.may_have_key(request) || !self.is_replayable(request, Some(body)) {
            return None;
        }
        let mut hash = KeyHash::new();
        hash.part(request.method.as_str().as_bytes());
        match request.uri.authority() {
            Some(authority) => {
                hash.length(1);
                hash.part(authority.as_str().as_bytes());
            }
            None => hash.field(&request.headers, &HOST),
        }
        let target = request.uri.path_and_query();
        hash.part(target.map_or("/", PathAndQuery::as_str).as_bytes());
        let mut names: Vec<_> =
            request.headers.keys().filter(|name| !self.is_ignored(name)).collect();
        names.sort_unstable_by_key(|name| name.as_str());
        hash.length(names.len());
        for name in names {
            hash.part(name.as_str().as_bytes());
            hash.field(&request.headers, name);
        }
        hash.pieces(body);
        Some(hash.key())
    }
}
