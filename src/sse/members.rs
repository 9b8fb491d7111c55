//! Looks at the members of a JSON object without reading their values.

use memchr::memchr2;

/// Calls `look` with the name and the beginning of the value of each member of the outermost object, until it returns
/// `true`. Names are compared as they are written: one with an escape in it is not recognised.
///
/// Follows strings and nesting and nothing else, so that text of a model never passes for a member. What is no object has
/// no members; a broken one has those before the break.
pub(super) fn any_member(json: &[u8], look: impl Fn(&[u8], &[u8]) -> bool) -> bool {
    let mut next = json.trim_ascii_start().strip_prefix(b"{");
    while let Some((name, value)) = next.and_then(member) {
        if look(name, value) {
            return true;
        }
        next = behind_comma(value);
    }
    false
}

/// The content of the string that `json` begins with, and what follows it.
pub(super) fn string(json: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = json.strip_prefix(b"\"")?;
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some((&text[..at], &text[at + 1..]));
        }
        at += 2;
    }
}

fn member(json: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, rest) = string(json.trim_ascii_start())?;
    let value = rest.trim_ascii_start().strip_prefix(b":")?;
    Some((name, value.trim_ascii_start()))
}

/// What follows the comma behind the value that `json` begins with.
fn behind_comma(mut json: &[u8]) -> Option<&[u8]> {
    let mut depth = 0_usize;
    loop {
        let (byte, rest) = json.split_first()?;
        match byte {
            b'"' => {
                json = string(json)?.1;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            b',' if depth == 0 => return Some(rest),
            _ => {}
        }
        json = rest;
    }
}
