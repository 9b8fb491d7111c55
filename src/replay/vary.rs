//! What an answer says of the requests that it is for, besides that they have its key: its `vary` (RFC 9111, 4.1).

use http::{HeaderMap, HeaderName, header::VARY};

use super::{Key, key::KeyHash, policy::tokens};

/// A hash of what a request says in the headers that the `vary` of an answer names. `None`: it names none.
///
/// An answer is for those of whom this is the same as of the request that it was given to. `*` is for nobody, and such an answer
/// is neither kept nor shared.
pub(super) fn selected(answer: &HeaderMap, request: &HeaderMap) -> Option<Key> {
    let mut names = tokens(answer, &VARY).peekable();
    names.peek()?;
    let mut hash = KeyHash::new();
    for name in names {
        // What is no name of a header is in no request.
        if let Ok(name) = HeaderName::from_bytes(name) {
            hash.field(request, &name);
        }
    }
    Some(hash.key())
}
