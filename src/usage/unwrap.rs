//! Takes a model's own words out of what Bedrock wraps them in: `{"bytes":"…","p":"…"}`, in base64.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::event::Event;
use crate::json::{Reader, Token};

/// Bytes of base64 that are read at a time.
const BLOCK: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Unwrap {
    json: Reader,
    /// What follows is the value of `bytes`.
    named: bool,
    /// It has begun.
    inside: bool,
    base64: Base64,
    sound: bool,
}

impl Unwrap {
    /// Reads on, and hands the words on to the event.
    pub(super) fn text(&mut self, text: &[u8], event: &mut Event) {
        let mut at = 0;
        while let Some((depth, token)) = self.json.next(text, &mut at) {
            if depth != 1 {
                continue;
            }
            if let Token::Name(name) = token {
                self.named = name == b"bytes";
            }
            let (Token::Piece(_) | Token::String, true) = (token, self.named) else { continue };
            if !std::mem::replace(&mut self.inside, true) {
                event.clear(); // If it is there twice, the last counts.
                self.base64 = Base64::default();
            }
            if let Token::Piece(piece) = token {
                self.base64.text(piece, event);
            } else {
                self.inside = false;
                self.sound = self.base64.is_whole();
            }
        }
    }

    /// Ends the message, and returns whether it was sound.
    pub(super) fn finish(&mut self) -> bool {
        let sound = self.sound && self.json.is_whole();
        self.clear();
        sound
    }

    /// Begins with another message.
    pub(super) fn clear(&mut self) {
        self.json.clear();
        (self.named, self.inside, self.sound) = (false, false, false);
    }
}

#[derive(Debug, Default)]
struct Base64 {
    /// Of four characters that belong together.
    held: [u8; 4],
    length: usize,
    ended: bool,
    broken: bool,
    words: Vec<u8>,
}

impl Base64 {
    fn text(&mut self, mut text: &[u8], event: &mut Event) {
        while !text.is_empty() && !self.broken {
            if self.length == 0 && text.len() >= 4 {
                let (block, rest) = text.split_at((text.len() / 4 * 4).min(BLOCK));
                self.block(block, event);
                text = rest;
                continue;
            }
            let (piece, rest) = text.split_at((4 - self.length).min(text.len()));
            self.held[self.length..][..piece.len()].copy_from_slice(piece);
            self.length += piece.len();
            text = rest;
            if self.length == 4 {
                self.length = 0;
                self.block(&{ self.held }, event);
            }
        }
    }

    fn block(&mut self, block: &[u8], event: &mut Event) {
        self.words.clear();
        self.broken = self.ended || STANDARD.decode_vec(block, &mut self.words).is_err();
        self.ended = block.ends_with(b"=");
        if !self.broken {
            event.text(&self.words);
        }
    }

    const fn is_whole(&self) -> bool {
        !self.broken && self.length == 0
    }
}
