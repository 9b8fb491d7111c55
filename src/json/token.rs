//! What a JSON text is made of.

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'t> {
    /// An object begins.
    Object,
    /// An array begins.
    Array,
    /// The innermost object or array ends.
    End,
    /// The name of a member, without escapes. Of a longer one the first 64 bytes.
    Name(&'t [u8]),
    /// Some of a string that is a value, without escapes. Perhaps only a part of a character.
    Piece(&'t [u8]),
    /// A string that is a value ends. Its pieces came before.
    String,
    /// A number; `None` if it is no whole one, negative, or has more than 64 bytes.
    Number(Option<u64>),
    Bool(bool),
    Null,
}
