//! Which requests ask a language model for an answer and leave nothing else behind.
//!
//! Not all whose usage can be read are of these: a thread, a batch or a stored response is there afterwards, and who asks for
//! two is to have two.

use std::fmt;

use bytes::Bytes;
use http::request::Parts;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::{Deserializer, value::RawValue};

use crate::head::is_encoded;

/// What a member at the top level of the body has to be.
#[derive(Clone, Copy)]
enum Must {
    /// Absent, `null` or `false`.
    NotBe,
    /// There, and `false`: what is absent is `true`.
    BeFalse,
}
use Must::{BeFalse, NotBe};

type Members = &'static [(&'static str, Must)];

/// How a path ends, and what must hold then.
const CALLS: &[(&[&str], Members)] = &[
    (
        &[
            "/embeddings",
            "/v1/messages",
            ":generateContent",
            ":streamGenerateContent",
            "/api/chat",
            "/api/generate",
            "/api/embed",
            "/v2/chat",
        ],
        &[],
    ),
    // xAI's `deferred` gives the id of an answer that can be fetched once.
    (&["/completions"], &[("store", NotBe), ("deferred", NotBe)]),
    (
        &["/responses"],
        &[
            ("store", BeFalse),
            ("background", NotBe),
            ("conversation", NotBe),
            ("previous_response_id", NotBe),
        ],
    ),
    // Cohere's first version. LM Studio's, which remembers what it is asked, has the question in `input`.
    (&["/v1/chat"], &[("conversation_id", NotBe), ("input", NotBe)]),
];

/// Tells whether a POST leaves nothing behind: by its head, where there is no body yet. `None`: it is nothing that is known.
pub(super) fn is_stateless(request: &Parts, body: Option<&[Bytes]>) -> Option<bool> {
    // As in `Dialect::detect`: a base URL may have any path.
    let path = request.uri.path().trim_end_matches('/');
    let mut calls = CALLS.iter();
    let (_, members) = calls.find(|(ends, _)| ends.iter().any(|end| path.ends_with(end)))?;
    if members.is_empty() {
        return Some(true);
    }
    if is_encoded(&request.headers) {
        return Some(false);
    }
    Some(body.is_none_or(|body| hold(members, body)))
}

/// Whether this is a JSON object, and its members are what they must be: each of them, if there are several of one name, for
/// parsers differ in which of them counts.
fn hold(members: Members, body: &[Bytes]) -> bool {
    let joined; // Only what comes in pieces has to be copied.
    let json = match body {
        [json] => json,
        pieces => {
            joined = Bytes::from(pieces.concat());
            &joined
        }
    };
    let mut json = Deserializer::from_slice(json);
    let holds = json.deserialize_map(Holds(members));
    holds.unwrap_or(false) && json.end().is_ok()
}

struct Holds(Members);

impl<'de> Visitor<'de> for Holds {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut missing = self.0.iter().filter(|(_, must)| matches!(must, BeFalse)).count();
        let mut holds = true;
        while let Some(name) = map.next_key::<String>()? {
            let Some((_, must)) = self.0.iter().find(|(known, _)| *known == name) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let value = map.next_value::<&RawValue>()?.get();
            holds &= match must {
                NotBe => matches!(value, "null" | "false"),
                BeFalse => value == "false",
            };
            missing = missing.saturating_sub(usize::from(matches!(must, BeFalse)));
        }
        Ok(holds && missing == 0)
    }
}
