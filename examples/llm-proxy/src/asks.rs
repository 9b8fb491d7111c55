//! Reads from the beginning of a request's body whether it asks for a stream.

#[cfg(test)]
mod tests;

use std::fmt;

use serde::{
    Deserializer as _,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::Deserializer;

/// Tells whether the JSON object that begins here has a member `stream` that is `true`.
///
/// The body may be cut off anywhere behind that member: most clients write it before the messages, but none has to.
pub(crate) fn asks_for_stream(prefix: &[u8]) -> bool {
    let mut asks = false;
    // Whatever breaks off later, or is no JSON: what was found by then counts.
    let _ = Deserializer::from_slice(prefix).deserialize_map(Members { asks: &mut asks });
    asks
}

struct Members<'a> {
    asks: &'a mut bool,
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<String>()? {
            if name == "stream" {
                *self.asks = false; // Of several the last one counts, as for most servers.
                *self.asks = members.next_value()?;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}
