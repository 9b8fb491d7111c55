//! Which requests are equal.

use std::fmt;

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method,
    header::{COOKIE, HOST},
    request::Parts,
    uri::{Authority, PathAndQuery},
};
use sha2::{Digest, Sha256};

use super::policy::directives;

/// Stands for all requests that may get the same answer: a SHA-256 of what makes them equal. Nobody can find a request that
/// has the key of another, and nobody can read the request from it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// Hashes parts, each with its length: `["ab", "c"]` and `["a", "bc"]` are two keys.
    ///
    /// ```
    /// use tower_lifeline::replay::Key;
    ///
    /// assert_ne!(Key::of([b"ab".as_slice(), b"c"]), Key::of([b"a".as_slice(), b"bc"]));
    /// ```
    #[must_use]
    pub fn of<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            add(&mut hash, part.as_ref());
        }
        Self(hash.finalize().into())
    }

    /// The hash, for a store that is elsewhere.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

fn add(hash: &mut Sha256, part: &[u8]) {
    hash.update((part.len() as u64).to_be_bytes());
    hash.update(part);
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

/// Makes the [`Key`] of a request; `None` for one that goes to the service in any case, and whose answer is not kept.
///
/// Implemented by [`RequestKey`], and for functions of the head and the data frames of the body:
///
/// ```
/// use bytes::Bytes;
/// use http::request::Parts;
/// use tower_lifeline::replay::{Key, MakeKey};
///
/// fn prompt(request: &Parts, body: &[Bytes]) -> Option<Key> {
///     // Whose it is must be part of it, or one would get what another paid for.
///     let tenant = request.headers.get("x-tenant")?;
///     Some(Key::of([request.uri.path().as_bytes(), tenant.as_bytes(), &body.concat()]))
/// }
/// # fn is<K: MakeKey>(_: K) {}
/// # is(prompt);
/// ```
pub trait MakeKey {
    /// Makes the key of a request whose body was read whole.
    fn key(&self, request: &Parts, body: &[Bytes]) -> Option<Key>;
}

impl<F: Fn(&Parts, &[Bytes]) -> Option<Key>> MakeKey for F {
    fn key(&self, request: &Parts, body: &[Bytes]) -> Option<Key> {
        self(request, body)
    }
}

/// What else makes an answer another one: who asks and who pays, what is asked for, and how the body is to be read.
const HEADERS: [&str; 19] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "x-amz-security-token",
    "ocp-apim-subscription-key",
    "x-goog-user-project",
    "openai-organization",
    "openai-project",
    "openai-beta",
    "anthropic-version",
    "anthropic-beta",
    "host",
    "accept",
    "content-type",
    "content-encoding",
    "range",
];

/// The ready-made key: method, path and query, the body, and chosen headers, all byte for byte. `host` is the authority, be it
/// in the header or in the URI.
///
/// The headers are those by which language models and most others tell who asks (`authorization`, `proxy-authorization`,
/// `cookie`, `x-api-key`, `api-key`, `x-goog-api-key`, `x-goog-user-project`, `x-amz-security-token`,
/// `ocp-apim-subscription-key`, `openai-organization`, `openai-project`), and
/// those that change the answer (`host`, `accept`, `content-type`, `content-encoding`, `range`, `openai-beta`,
/// `anthropic-version`, `anthropic-beta`). **If your clients are told apart by anything else, add it**, or they get each
/// other's answers.
///
/// Only GET and POST have a key, and only where the client does not say `cache-control: no-cache` or `no-store`, and does not
/// name two hosts, one in the URI and another in the header.
#[derive(Clone, Debug)]
#[must_use]
pub struct RequestKey {
    headers: Vec<HeaderName>,
}

impl RequestKey {
    /// Makes the key of what is said above.
    pub fn new() -> Self {
        Self { headers: HEADERS.into_iter().map(HeaderName::from_static).collect() }
    }

    /// Makes the key of these headers instead of those, besides method, path, query and body.
    ///
    /// **Whatever tells who asks must be among them**, or one client gets what belongs to another.
    pub fn of_headers(names: impl IntoIterator<Item = HeaderName>) -> Self {
        Self { headers: names.into_iter().collect() }
    }

    /// Adds a header to what must be equal.
    pub fn header(mut self, name: HeaderName) -> Self {
        self.headers.push(name);
        self
    }
}

impl Default for RequestKey {
    fn default() -> Self {
        Self::new()
    }
}

impl MakeKey for RequestKey {
    fn key(&self, request: &Parts, body: &[Bytes]) -> Option<Key> {
        let fresh =
            directives(&request.headers).any(|said| said == "no-cache" || said == "no-store");
        if fresh || !matches!(request.method, Method::GET | Method::POST) {
            return None;
        }
        let authority = request.uri.authority().map(Authority::as_str);
        let mut hosts = request.headers.get_all(HOST).iter().map(HeaderValue::as_bytes);
        if authority.is_some_and(|named| hosts.any(|host| host != named.as_bytes())) {
            return None;
        }
        let mut hash = Sha256::new();
        add(&mut hash, request.method.as_str().as_bytes());
        let target = request.uri.path_and_query();
        add(&mut hash, target.map_or("/", PathAndQuery::as_str).as_bytes());
        for name in &self.headers {
            if let Some(authority) = authority.filter(|_| *name == HOST) {
                hash.update(1_u64.to_be_bytes());
                add(&mut hash, authority.as_bytes());
                continue;
            }
            if *name == COOKIE {
                // HTTP/2 may split it over several fields (RFC 9113, 8.2.3).
                let crumbs = request.headers.get_all(COOKIE).iter();
                let crumbs: Vec<_> = crumbs.map(HeaderValue::as_bytes).collect();
                hash.update((crumbs.len().min(1) as u64).to_be_bytes());
                add(&mut hash, &crumbs.join(&b"; "[..]));
                continue;
            }
            let values = request.headers.get_all(name);
            hash.update((values.iter().count() as u64).to_be_bytes());
            values.iter().for_each(|value| add(&mut hash, value.as_bytes()));
        }
        hash.update(body.iter().map(|part| part.len() as u64).sum::<u64>().to_be_bytes());
        body.iter().for_each(|part| hash.update(part));
        Some(Key(hash.finalize().into()))
    }
}
