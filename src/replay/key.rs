//! Which requests are equal.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header::COOKIE, request::Parts};
use sha2::{Digest, Sha256};

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
        let mut hash = KeyHash::new();
        for part in parts {
            hash.part(part.as_ref());
        }
        hash.key()
    }

    /// The hash, for a store that is elsewhere.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Takes a hash back from a store that is elsewhere.
    pub const fn from_bytes(hash: [u8; 32]) -> Self {
        Self(hash)
    }
}

/// Makes a [`Key`] of parts, so that no two lists of them are hashed as the same bytes.
pub(super) struct KeyHash(Sha256);

impl KeyHash {
    pub(super) fn new() -> Self {
        Self(Sha256::new())
    }

    pub(super) fn part(&mut self, part: &[u8]) {
        self.length(part.len());
        self.0.update(part);
    }

    /// All values of a header, in their order, or that there are none.
    pub(super) fn field(&mut self, headers: &HeaderMap, name: &HeaderName) {
        let values: Vec<_> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        if *name == COOKIE && values.len() > 1 {
            // HTTP/2 may split it over several fields (RFC 9113, 8.2.3).
            self.length(1);
            return self.part(&values.join(&b"; "[..]));
        }
        self.length(values.len());
        values.into_iter().for_each(|value| self.part(value));
    }

    /// One part that comes in pieces: where they were cut makes no difference.
    pub(super) fn pieces(&mut self, pieces: &[Bytes]) {
        self.length(pieces.iter().map(Bytes::len).sum());
        pieces.iter().for_each(|piece| self.0.update(piece));
    }

    pub(super) fn length(&mut self, length: usize) {
        self.0.update((length as u64).to_be_bytes());
    }

    pub(super) fn key(self) -> Key {
        Key(self.0.finalize().into())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

/// Makes the [`Key`] of a request; `None` for one that goes to the service in any case, and whose answer is not kept.
///
/// Implemented by [`RequestKey`](super::RequestKey), and for functions of the head and the data of the body, in
/// however many pieces that is:
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
    /// Whether a request with this head may have a key at all. One that may not is passed on as it comes, and its body is not
    /// read beforehand.
    fn may_have_key(&self, request: &Parts) -> bool {
        let _ = request;
        true
    }

    /// Makes the key of a request whose body was read whole.
    fn key(&self, request: &Parts, body: &[Bytes]) -> Option<Key>;
}

impl<F: Fn(&Parts, &[Bytes]) -> Option<Key>> MakeKey for F {
    fn key(&self, request: &Parts, body: &[Bytes]) -> Option<Key> {
        self(request, body)
    }
}
