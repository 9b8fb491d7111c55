use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

#[cfg(test)]
mod tests;

/// Holds what a chunked body said, as far as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dechunked {
    /// Joins all chunks and what came of one that was cut.
    pub body: Vec<u8>,
    /// Holds the whole chunks one by one; hyper makes one of each frame.
    pub chunks: Vec<Bytes>,
    /// Says that the last chunk (of size 0) and its blank line were seen.
    pub complete: bool,
    pub trailers: HeaderMap,
    /// Holds what follows a complete body: the next response on this connection, or bytes that should not be.
    pub rest: Vec<u8>,
}

/// Decodes a chunked body, without its head. What is cut or malformed is not complete, and ends there.
pub fn dechunk(wire: &[u8]) -> Dechunked {
    let mut out = Dechunked::default();
    let mut wire = wire;
    while let Some((size, after)) = chunk_size(wire) {
        if size == 0 {
            read_trailers(after, &mut out);
            break;
        }
        let chunk = &after[..size.min(after.len())];
        out.body.extend_from_slice(chunk);
        let Some(next) = after.get(size..).and_then(|rest| rest.strip_prefix(b"\r\n")) else {
            break;
        };
        out.chunks.push(Bytes::copy_from_slice(chunk));
        wire = next;
    }
    out
}

fn chunk_size(wire: &[u8]) -> Option<(usize, &[u8])> {
    let (line, after) = line(wire)?;
    let size = line.split(';').next().unwrap_or_default().trim();
    Some((usize::from_str_radix(size, 16).ok()?, after))
}

fn read_trailers(mut wire: &[u8], out: &mut Dechunked) {
    while let Some((field, after)) = line(wire) {
        if field.is_empty() {
            out.complete = true;
            out.rest = after.to_vec();
            return;
        }
        let Some((name, value)) = trailer(field) else {
            return;
        };
        out.trailers.append(name, value);
        wire = after;
    }
}

fn trailer(field: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = field.split_once(':')?;
    Some((name.parse().ok()?, value.trim().parse().ok()?))
}

fn line(wire: &[u8]) -> Option<(&str, &[u8])> {
    let end = wire.windows(2).position(|two| two == b"\r\n")?;
    Some((std::str::from_utf8(&wire[..end]).ok()?, &wire[end + 2..]))
}
