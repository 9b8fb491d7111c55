//! Reads events from chunks.

use std::{ops::Range, time::Duration};

use bytes::{Buf, Bytes};

use super::{
    decoded::{Decoded, DecodedEvent, text},
    joined::Joined,
    lines::{Lines, Piece},
};

/// Bytes of an event that is not complete. Not 64 KiB: the event that ends a stream of OpenAI's Responses repeats the whole
/// response, and it is the one with the usage.
const DEFAULT_LIMIT: usize = 1024 * 1024;

/// Reads server-sent events from a stream that comes in chunks, cut anywhere.
///
/// ```
/// use bytes::Bytes;
/// use tower_lifeline::sse::{Decoded, Decoder};
///
/// let mut decoder = Decoder::new();
/// let mut seen = Vec::new();
/// for chunk in ["event: greeting\nid: 7\nda", "ta: hello\n\n: a comment\n\ndata: [DONE]"] {
///     let mut chunk = Bytes::from(chunk);
///     while let Some(decoded) = decoder.decode(&mut chunk) {
///         let Decoded::Event(event) = decoded else { continue };
///         seen.push((event.event_type().to_owned(), event.data().clone()));
///     }
/// }
/// assert_eq!(seen, [("greeting".to_owned(), Bytes::from("hello"))]);
/// assert_eq!(decoder.last_event_id(), "7");
///
/// let Some(Decoded::Event(event)) = decoder.finish() else { panic!("it has no blank line, but it is there") };
/// assert_eq!(event.data(), "[DONE]");
/// ```
///
/// Reads by the rules of the HTML standard: lines end with LF, CR or CR LF, a byte order mark is left out, comments and
/// blocks without data yield nothing, an id stays until another comes. It allocates only where a line is cut by the end of a
/// chunk, where an event has several lines of data, and for an id.
#[derive(Clone, Debug)]
#[must_use]
pub struct Decoder {
    lines: Lines,
    line: Line,
    event_type: Bytes,
    /// `None`: no line of data yet, which is not the same as an empty one.
    data: Option<Joined>,
    /// The id that the next event will have, and the one that the last block had.
    id: Bytes,
    last_event_id: Bytes,
    retry: Option<Duration>,
    limit: usize,
    /// The event was too large: its rest is skipped.
    skipping: bool,
}

/// What of the current line is there.
#[derive(Clone, Debug)]
enum Line {
    Empty,
    /// Nothing depends on what it says.
    Ignored,
    Field(Joined),
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// Reads events of at most 1 MiB.
    pub const fn new() -> Self {
        Self::with_limit(DEFAULT_LIMIT)
    }

    /// Reads events of at most so many `bytes`: the data and the type of the event with the line that is being read. A
    /// comment counts for nothing, however long it is. The limit is the same however the stream is cut.
    pub const fn with_limit(bytes: usize) -> Self {
        Self {
            lines: Lines::new(),
            line: Line::Empty,
            event_type: Bytes::new(),
            data: None,
            id: Bytes::new(),
            last_event_id: Bytes::new(),
            retry: None,
            limit: bytes,
            skipping: false,
        }
    }

    /// Reads `chunk` up to the end of the next event, and leaves in it what follows. `None`: all of it is read.
    ///
    /// What is left in a chunk must be read before the next chunk is.
    pub fn decode(&mut self, chunk: &mut Bytes) -> Option<Decoded> {
        let mut at = 0;
        while let Some(piece) = self.lines.next(chunk, &mut at) {
            let decoded = match piece {
                Piece::Text { text, ended } => {
                    let too_large = self.text(chunk, text);
                    let event = if ended { self.end_line() } else { None };
                    too_large.or(event) // Not both: a line that was too large ends no event.
                }
                Piece::FalseMark => {
                    self.line = Line::Ignored; // No field has such a name.
                    None
                }
                Piece::Tail => None,
            };
            if decoded.is_some() {
                chunk.advance(at);
                return decoded;
            }
        }
        chunk.clear();
        None
    }

    /// Ends the stream: an event that lacks its blank line, or the end of its last line, is taken as it is.
    ///
    /// The standard drops it, since it may be cut short. To know what a stream cost it is better than nothing. After this the
    /// decoder reads a new stream, as a client that connects again does: the id and the time to wait stay.
    pub fn finish(&mut self) -> Option<Decoded> {
        if !matches!(self.line, Line::Empty) {
            self.end_line();
        }
        let last = self.end_event();
        self.lines = Lines::new();
        last
    }

    /// The id that a client would repeat as `Last-Event-ID`, empty if there was none.
    pub fn last_event_id(&self) -> &str {
        text(&self.last_event_id)
    }

    /// How long a client is to wait before it connects again, if the stream said so.
    pub const fn retry(&self) -> Option<Duration> {
        self.retry
    }

    fn text(&mut self, chunk: &Bytes, range: Range<usize>) -> Option<Decoded> {
        if range.is_empty() {
            return None;
        }
        let line = match &self.line {
            Line::Ignored => return None,
            Line::Empty if self.skipping || chunk[range.start] == b':' => {
                self.line = Line::Ignored;
                return None;
            }
            Line::Empty => 0,
            Line::Field(line) => line.len(),
        };
        let held = line + self.data.as_ref().map_or(0, Joined::len) + self.event_type.len();
        if held + range.len() > self.limit {
            self.line = Line::Ignored;
            (self.data, self.event_type) = (None, Bytes::new());
            self.skipping = true;
            return Some(Decoded::TooLarge);
        }
        match &mut self.line {
            Line::Field(line) => line.push(&chunk[range]),
            line => *line = Line::Field(Joined::new(chunk.slice(range))),
        }
        None
    }

    fn end_line(&mut self) -> Option<Decoded> {
        match std::mem::replace(&mut self.line, Line::Empty) {
            Line::Empty => self.end_event(),
            Line::Ignored => None,
            Line::Field(line) => {
                self.field(&line.into_bytes()); // It can not be too large: a value is shorter than its line.
                None
            }
        }
    }

    fn field(&mut self, line: &Bytes) {
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let mut value = line.slice((colon + 1).min(line.len())..);
        if value.first() == Some(&b' ') {
            value.advance(1);
        }
        match &line[..colon] {
            b"data" => match &mut self.data {
                None => self.data = Some(Joined::new(value)),
                Some(data) => {
                    data.push(b"\n");
                    data.push(&value);
                }
            },
            b"event" => self.event_type = valid(value),
            // A copy, since it stays: it must not keep a whole chunk alive.
            b"id" if !value.contains(&0) => self.id = valid(Bytes::copy_from_slice(&value)),
            b"retry" if value.iter().all(u8::is_ascii_digit) => {
                let millis =
                    std::str::from_utf8(&value).ok().and_then(|digits| digits.parse().ok());
                self.retry = millis.map(Duration::from_millis).or(self.retry);
            }
            _ => {}
        }
    }

    fn end_event(&mut self) -> Option<Decoded> {
        self.last_event_id.clone_from(&self.id);
        let event_type = std::mem::take(&mut self.event_type);
        let data = self.data.take().map(Joined::into_bytes);
        if std::mem::take(&mut self.skipping) {
            return None;
        }
        let last_event_id = self.last_event_id.clone();
        data.map(|data| Decoded::Event(DecodedEvent { event_type, data, last_event_id }))
    }
}

/// Makes text of bytes, as a browser does: what is no UTF-8 becomes U+FFFD.
fn valid(bytes: Bytes) -> Bytes {
    match std::str::from_utf8(&bytes) {
        Ok(_) => bytes,
        Err(_) => String::from_utf8_lossy(&bytes).into_owned().into(),
    }
}
