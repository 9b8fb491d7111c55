//! How a record begins, and where a reader is.

use std::time::Duration;

/// Where a reader is in a log: in front of the next record.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    pub(super) block: u64,
    pub(super) at: usize,
    /// What is left of a frame whose beginning was forgotten.
    pub(super) left: usize,
    /// So many frames are in front of it.
    pub(crate) frame: u64,
    /// And so many bytes of frames.
    pub(crate) bytes: u64,
    /// The time of the frame in front of it.
    pub(super) after: Duration,
}

impl Cursor {
    /// The numbers behind a frame.
    pub(super) fn behind(self, bytes: usize, since: Duration) -> Self {
        Self {
            frame: self.frame + 1,
            bytes: self.bytes + bytes as u64,
            after: self.after.saturating_add(since),
            ..self
        }
    }
}

/// Of a number of 64 bits.
const LONGEST: usize = 10;

/// The length of a frame, and the time since the one before.
pub(super) struct Header {
    text: [u8; 2 * LONGEST],
    length: usize,
    since: Duration,
}

impl Header {
    pub(super) fn new(bytes: usize, since: Option<Duration>) -> Self {
        let mut header = Self { text: [0; 2 * LONGEST], length: 0, since: Duration::ZERO };
        header.push(bytes as u64);
        if let Some(since) = since {
            let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
            header.push(micros);
            header.since = Duration::from_micros(micros);
        }
        header
    }

    fn push(&mut self, mut number: u64) {
        loop {
            let more = number >= 0x80;
            self.text[self.length] = (number & 0x7f) as u8 | (u8::from(more) << 7);
            self.length += 1;
            if !more {
                return;
            }
            number >>= 7;
        }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.text[..self.length]
    }

    /// The time as it will be read.
    pub(super) const fn since(&self) -> Duration {
        self.since
    }

    /// Reads one: the length of the frame, the time, and the length of the header.
    pub(super) fn read(text: &[u8], timed: bool) -> Option<(usize, Duration, usize)> {
        let mut at = 0;
        let bytes = number(text, &mut at)?;
        let since = if timed { number(text, &mut at)? } else { 0 };
        Some((usize::try_from(bytes).ok()?, Duration::from_micros(since), at))
    }
}

fn number(text: &[u8], at: &mut usize) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *text.get(*at)?;
        *at += 1;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}
