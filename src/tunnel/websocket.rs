//! Whether a WebSocket was closed by the one who writes.

/// RFC 6455, 5.5.1.
const CLOSE: u8 = 8;

/// Reads the headers of the frames that one side writes, up to its Close frame.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The first byte of the frame whose length is being read, and how many bytes of its header are still to come.
    header: Option<(u8, Header)>,
    /// What is left of a header's length and mask, or of a payload.
    skip: u64,
    closed: bool,
}

#[derive(Clone, Copy, Debug)]
enum Header {
    /// The byte of the mask's flag and of the short length.
    Short,
    /// So many bytes of the length, what they say so far, and whether a mask follows.
    Long(u8, u64, bool),
}

impl Frames {
    /// Whether a Close frame was begun.
    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.closed {
            if self.skip > 0 {
                let skipped = bytes.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
                self.skip -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            let byte = bytes[0];
            bytes = &bytes[1..];
            self.header = match self.header {
                None => Some((byte, Header::Short)),
                Some((first, Header::Short)) => {
                    // 5.2: 126 and 127 stand for a length of 2 and 8 bytes.
                    match (byte & 0x7f, byte & 0x80 != 0) {
                        (126, masked) => Some((first, Header::Long(2, 0, masked))),
                        (127, masked) => Some((first, Header::Long(8, 0, masked))),
                        (length, masked) => self.payload(first, u64::from(length), masked),
                    }
                }
                Some((first, Header::Long(left, length, masked))) => {
                    let length = length << 8 | u64::from(byte);
                    match left {
                        1 => self.payload(first, length, masked),
                        left => Some((first, Header::Long(left - 1, length, masked))),
                    }
                }
            };
        }
    }

    fn payload(&mut self, first: u8, length: u64, masked: bool) -> Option<(u8, Header)> {
        self.closed = first & 0x0f == CLOSE;
        self.skip = length.saturating_add(if masked { 4 } else { 0 });
        None
    }
}

#[cfg(test)]
mod tests {
    use super::Frames;

    /// Whether it is closed behind so many bytes, and not before, however they are cut.
    fn closes(bytes: &[u8], at: Option<usize>) {
        for size in 1..=bytes.len() {
            let (mut frames, mut fed) = (Frames::default(), 0);
            for piece in bytes.chunks(size) {
                frames.feed(piece);
                fed += piece.len();
                assert_eq!(frames.is_closed(), at.is_some_and(|at| fed >= at), "{fed} by {size}");
            }
        }
    }

    #[test]
    fn a_close_frame_is_known_behind_frames_of_any_length_masked_or_not() {
        closes(b"\x88\x00", Some(2));
        closes(b"\x81\x02\x88\x00\x89\x00", None);
        closes(b"\x81\x82mask\x88\x00\x88\x80mask", Some(10));
        for (length, header) in
            [(300, &b"\x82\x7e\x01\x2c"[..]), (70_000, b"\x82\x7f\0\0\0\0\0\x01\x11\x70")]
        {
            let mut bytes = [header, &vec![0x88; length]].concat();
            bytes.extend_from_slice(b"\x88\x02\x03\xe8");
            let mut frames = Frames::default();
            frames.feed(&bytes[..header.len() + length]);
            assert!(!frames.is_closed());
            frames.feed(&bytes[header.len() + length..]);
            assert!(frames.is_closed());
        }
    }
}
