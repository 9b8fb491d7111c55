//! Tells whether a stream says something, or only that it is alive.

use super::lines::{Lines, Piece};

/// Looks for data in a stream of server-sent events, without waiting for the end of an event.
///
/// So data is judged by the type that its event has by then. Should an event be named `ping` behind its data, it has counted.
#[derive(Clone, Debug)]
pub(crate) struct Pulse {
    lines: Lines,
    /// The start of the current line: enough to know its field, or that the event is a ping.
    start: [u8; START],
    /// Bytes of the line, up to one more than `start` holds.
    length: usize,
    ping: bool,
}

const START: usize = 11; // `event: ping`

impl Pulse {
    pub(crate) const fn new() -> Self {
        Self { lines: Lines::new(), start: [0; START], length: 0, ping: false }
    }

    /// Reads on, and returns whether there was a byte of data.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> bool {
        let mut pulse = false;
        let mut at = 0;
        while let Some(piece) = self.lines.next(bytes, &mut at) {
            match piece {
                Piece::Text { text, ended } => {
                    self.extend(&bytes[text]);
                    // A field needs no colon where nothing follows it.
                    let data =
                        self.line().starts_with(b"data:") || (ended && self.line() == b"data");
                    pulse |= data && !self.ping;
                    if ended {
                        self.end_line();
                    }
                }
                Piece::FalseMark => self.extend(b"?"),
                Piece::Tail => {}
            }
        }
        pulse
    }

    fn extend(&mut self, text: &[u8]) {
        let room = START.saturating_sub(self.length);
        let taken = room.min(text.len());
        self.start[self.length.min(START)..][..taken].copy_from_slice(&text[..taken]);
        self.length = (self.length + text.len()).min(START + 1);
    }

    fn line(&self) -> &[u8] {
        &self.start[..self.length.min(START)]
    }

    fn end_line(&mut self) {
        let whole = self.length <= START;
        match self.line() {
            b"" => self.ping = false,
            b"event: ping" | b"event:ping" => self.ping = whole,
            // The last of several names an event, even if it takes the name away (the HTML standard, 9.2.6).
            line if line.starts_with(b"event:") || line == b"event" => self.ping = false,
            _ => {}
        }
        self.length = 0;
    }
}
