//! Reads from a request head whether it asks for an event stream, and whether it can have one.

use http::{HeaderMap, header};

/// Tells whether `Accept` names `text/event-stream`, with a weight above 0, and not `application/json` too.
///
/// Clients that take anything (`*/*`, `text/*`, no `Accept` at all) did not ask for a stream. Those that name both leave the
/// choice to the server, as every client of MCP has to (Streamable HTTP, "Sending Messages to the Server").
///
/// ```
/// use http::Request;
/// use tower_lifeline::early_head::accepts_event_stream;
///
/// let asks = |accept| {
///     accepts_event_stream(Request::get("/").header("accept", accept).body(()).unwrap().headers())
/// };
/// assert!(asks("text/event-stream, */*"));
/// assert!(!asks("application/json, text/event-stream"));
/// assert!(!asks("text/event-stream;q=0, */*"));
/// ```
pub fn accepts_event_stream(headers: &HeaderMap) -> bool {
    names(headers, b"text/event-stream") && !names(headers, b"application/json")
}

/// Tells whether the connection is to become something else, a WebSocket mostly. Some clients offer `h2c` with each request
/// and expect nothing.
pub(super) fn asks_to_upgrade(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::UPGRADE).iter();
    values
        .flat_map(|value| split(value.as_bytes(), b','))
        .map(<[u8]>::trim_ascii)
        .any(|protocol| !protocol.is_empty() && !protocol.eq_ignore_ascii_case(b"h2c"))
}

/// Tells whether `Accept` names this media type with a weight above 0.
fn names(headers: &HeaderMap, media_type: &[u8]) -> bool {
    let values = headers.get_all(header::ACCEPT).iter();
    values.flat_map(|value| split(value.as_bytes(), b',')).any(|range| {
        let mut parts = split(range, b';').map(<[u8]>::trim_ascii);
        let essence = parts.next().unwrap_or_default();
        essence.eq_ignore_ascii_case(media_type) && !parts.any(is_zero_weight)
    })
}

/// Splits a field value where the separator stands outside of quotes.
fn split(value: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    value.split(move |byte| {
        let literal = std::mem::take(&mut escaped);
        match byte {
            b'\\' if quoted => escaped = !literal,
            b'"' if !literal => quoted = !quoted,
            _ => {}
        }
        !quoted && *byte == separator
    })
}

/// Tells whether a parameter is `q=0`, however many zeros it has.
fn is_zero_weight(parameter: &[u8]) -> bool {
    let mut sides = parameter.splitn(2, |byte| *byte == b'=').map(<[u8]>::trim_ascii);
    let name = sides.next().unwrap_or_default();
    let value = sides.next().unwrap_or_default();
    name.eq_ignore_ascii_case(b"q")
        && value.starts_with(b"0")
        && value.iter().all(|byte| matches!(byte, b'0' | b'.'))
}
