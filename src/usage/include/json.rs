//! What is read in a request and in an event, and what is written into a request: bytes in one place, all others stay.

use std::{fmt, ops::Range};

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Some bytes in the place of others.
#[derive(Debug)]
pub(super) struct Splice {
    pub(super) at: Range<usize>,
    pub(super) text: &'static str,
}

impl Splice {
    /// What makes this request ask for the usage. `None`: it asks already, it is for the upstream to judge, or it asks for no
    /// stream.
    pub(super) fn of(request: &[u8]) -> Option<Self> {
        let [stream, options] = last(request, &["stream", "stream_options"])?;
        if stream? != "true" {
            return None;
        }
        let Some(options) = options else {
            let at = request.iter().position(|byte| *byte == b'{')? + 1;
            let text = "\"stream_options\":{\"include_usage\":true},"; // `stream` follows somewhere.
            return Some(Self { at: at..at, text });
        };
        let start = options.as_ptr().addr() - request.as_ptr().addr();
        if options == "null" {
            let at = start..start + options.len();
            return Some(Self { at, text: "{\"include_usage\":true}" });
        }
        let [asked] = last(options.as_bytes(), &["include_usage"])?;
        match asked {
            Some(no @ ("false" | "null")) => {
                let start = no.as_ptr().addr() - request.as_ptr().addr();
                Some(Self { at: start..start + no.len(), text: "true" })
            }
            Some(_) => None,
            None => {
                let empty = options[1..].trim_ascii_start().starts_with('}');
                let text = "\"include_usage\":true,";
                let text = if empty { text.trim_end_matches(',') } else { text };
                Some(Self { at: start + 1..start + 1, text })
            }
        }
    }

    pub(super) fn apply(&self, json: &[u8]) -> Bytes {
        [&json[..self.at.start], self.text.as_bytes(), &json[self.at.end..]].concat().into()
    }
}

/// Whether these are the data of the chunk that says the usage and nothing else.
pub(super) fn is_extra(data: &[u8]) -> bool {
    let Some([Some(choices), Some(usage)]) = last(data, &["choices", "usage"]) else {
        return false;
    };
    let inside = choices.strip_prefix('[').and_then(|choices| choices.strip_suffix(']'));
    usage.starts_with('{') && inside.is_some_and(|inside| inside.trim_ascii().is_empty())
}

/// The last value of each name in a JSON object, as it is written. `None`: it is no JSON object, or broken.
fn last<'de, const N: usize>(json: &'de [u8], names: &[&str; N]) -> Option<[Option<&'de str>; N]> {
    let mut json = serde_json::Deserializer::from_slice(json);
    let found = json.deserialize_map(Last(names)).ok()?;
    json.end().ok()?;
    Some(found)
}

struct Last<'n, const N: usize>(&'n [&'n str; N]);

impl<'de, const N: usize> Visitor<'de> for Last<'_, N> {
    type Value = [Option<&'de str>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some(name) = map.next_key_seed(Name(self.0))? {
            match name {
                Some(name) => found[name] = Some(map.next_value::<&RawValue>()?.get()),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}

/// Finds the place of a name.
struct Name<'n>(&'n [&'n str]);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<Self::Value, D::Error> {
        name.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|known| *known == name))
    }
}
