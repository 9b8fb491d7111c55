//! Whether the data of an event tell of a failure.

use crate::json::{Reader, Token};

/// Whether an event of this type, or with this for its own `type`, tells of a failure.
pub(crate) fn is_failure(kind: impl AsRef<[u8]>) -> bool {
    [&b"error"[..], b"response.failed"].contains(&kind.as_ref())
}

/// More than any type has that tells of a failure.
const TYPE: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Error,
    Type,
    Other,
}

/// Whether these are a JSON object that tells of a failure, as far as it goes.
pub(super) fn tells_failure(data: &[u8]) -> bool {
    let (mut json, mut at) = (Reader::default(), 0);
    let (mut member, mut kind) = (Member::Other, vec![]);
    let (mut error, mut empty, mut failure) = (false, false, false);
    while let Some((depth, token)) = json.next(data, &mut at) {
        match (depth, token, member) {
            (1, Token::Name(b"jsonrpc"), _) => return false, // It answers one of many calls.
            (1, Token::Name(name), _) => {
                kind.clear();
                member = match name {
                    b"error" => Member::Error,
                    b"type" => Member::Type,
                    _ => Member::Other,
                };
            }
            (1, Token::Piece(piece), Member::Type) => {
                kind.extend_from_slice(&piece[..piece.len().min(TYPE - kind.len())]);
            }
            (1, Token::String, Member::Type) => failure |= is_failure(&kind),
            (1, Token::End, Member::Error) => error &= !empty,
            (1, Token::Piece(_) | Token::Bool(true), Member::Error) => error = true,
            (1, Token::Number(number), Member::Error) => error |= number != Some(0),
            (2, Token::Object | Token::Array, Member::Error) if !error => {
                (error, empty) = (true, true);
            }
            (2.., _, Member::Error) => empty = false,
            _ => {}
        }
    }
    error || failure
}
