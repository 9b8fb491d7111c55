//! The members of interest as serde reads them: the model for the [`Extractor`](super::super::extract::Extractor).

use std::fmt;

use proptest::prelude::*;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{
    super::{
        Dialect,
        dialect::SIGNS,
        extract::Extractor,
        members::{Found, Mark, Members, Node, Text},
    },
    streams::json,
};
use crate::json::Reader as Json;

/// `None`: it is malformed, or no object or array.
fn expected(json: &[u8], members: Members) -> Option<Found> {
    let mut found = Found::default();
    // To serde it is no number; nor is it a count.
    let json = String::from_utf8_lossy(json).replace("NaN", "1.5").into_bytes();
    let mut reader = serde_json::Deserializer::from_slice(&json);
    Reader { node: Node::Object(members), found: &mut found }.deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    let turn = std::mem::take(&mut found.turn);
    found.choices.all(turn);
    Some(found)
}

fn extracted(json: &[u8], members: Members) -> Option<Found> {
    let (mut reader, mut extractor) = (Json::default(), Extractor::new(members));
    let mut at = 0;
    while let Some((depth, token)) = reader.next(json, &mut at) {
        extractor.token(token, depth);
    }
    reader.is_whole().then(|| extractor.found().clone())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn the_same_is_found_as_serde_finds(
        (dialect, json) in (0..Dialect::ALL.len()).prop_flat_map(|at| {
            let dialect = Dialect::ALL[at];
            (Just(dialect), json(dialect))
        }),
    ) {
        prop_assume!(json.starts_with(['{', '[']));
        for members in [dialect.grammar().members, SIGNS] {
            let extracted = extracted(json.as_bytes(), members);
            let expected = expected(json.as_bytes(), members);
            prop_assert_eq!(format!("{extracted:?}"), format!("{expected:?}"), "{}", &json);
        }
    }
}

struct Reader<'f> {
    node: Node,
    found: &'f mut Found,
}

impl Reader<'_> {
    fn mark(&mut self) {
        match self.node {
            Node::Mark(mark) => self.found.mark(mark),
            Node::Content => self.found.turn.goes_on = true,
            _ => {}
        }
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(mut self, value: bool) -> Result<(), E> {
        if value {
            self.mark();
        }
        Ok(())
    }

    fn visit_u64<E>(mut self, value: u64) -> Result<(), E> {
        match self.node {
            Node::Count(count) => self.found.counts.set(count, value),
            Node::Index => self.found.turn.index = value,
            _ if value == 0 => {}
            _ => self.mark(),
        }
        Ok(())
    }

    fn visit_i64<E>(mut self, _: i64) -> Result<(), E> {
        self.mark();
        Ok(())
    }

    fn visit_f64<E: Error>(mut self, value: f64) -> Result<(), E> {
        if value.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&value) {
            return self.visit_u64(value as u64);
        }
        self.mark();
        Ok(())
    }

    fn visit_str<E>(mut self, text: &str) -> Result<(), E> {
        match self.node {
            Node::Text(name) => {
                self.found.begin(name);
                self.found.push(name, text.as_bytes());
                self.found.finish(name);
            }
            _ if text.is_empty() => {}
            _ => self.mark(),
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { node, found } = self;
        let mut empty = true;
        if let Node::Object(_) | Node::Choice(_) | Node::Last(_) = node {
            while seq.next_element_seed(Reader { node, found: &mut *found })?.is_some() {}
        } else {
            while seq.next_element::<IgnoredAny>()?.is_some() {
                empty = false;
            }
        }
        if !empty {
            Reader { node, found }.mark();
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { node, found } = self;
        let members = match node {
            Node::Object(members) | Node::Choice(members) | Node::Last(members) => members,
            _ => &[][..],
        };
        let outer = matches!(node, Node::Choice(_)).then(|| std::mem::take(&mut found.turn));
        let mut empty = true;
        while let Some(name) = map.next_key::<String>()? {
            empty = false;
            match members.iter().find(|(known, _)| *known == name) {
                Some((_, node)) => {
                    if let Node::Named(mark) = node {
                        found.mark(*mark);
                    }
                    map.next_value_seed(Reader { node: *node, found: &mut *found })?;
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if let Some(outer) = outer {
            let turn = std::mem::replace(&mut found.turn, outer);
            found.choices.one(turn);
        } else if let Node::Last(_) = node {
            found.mark(Mark::Last);
        } else if !empty {
            Reader { node, found }.mark();
        }
        Ok(())
    }
}

/// What must not be overlooked where whole events are searched for a word, and not read.
#[test]
fn on_the_way_to_each_member_of_a_dialect_is_a_word_that_is_searched_for() {
    fn missing(members: Members, dialect: Dialect, path: &str) -> Vec<String> {
        let known = |(name, node): &(&str, Node)| {
            // Read on until it is known; only looked at with counts; searched for in another way, or behind a reason alone.
            let apart = match node {
                Node::Text(Text::Model) | Node::Index | Node::Content => true,
                Node::Text(Text::Other) => dialect == Dialect::OpenAiChat,
                _ => false,
            };
            apart || dialect.grammar().watch.late.are_in(format!("\"{name}\":1").as_bytes())
        };
        let unknown = members.iter().filter(|member| !known(member));
        unknown
            .flat_map(|(name, node)| {
                let path = format!("{path}.{name}");
                match node {
                    Node::Object(members) | Node::Choice(members) => {
                        missing(members, dialect, &path)
                    }
                    _ => vec![path],
                }
            })
            .collect()
    }
    for dialect in Dialect::ALL {
        let grammar = dialect.grammar();
        assert_eq!(missing(grammar.members, dialect, ""), [""; 0], "{dialect}");
        for kind in ["message_stop", "message-end", "response.completed", "response.incomplete"] {
            for event in
                [format!("data: {{\"type\":\"{kind}\"}}"), format!("event:{kind}\ndata:{{}}")]
            {
                let searched = grammar.watch.late.are_in(event.as_bytes());
                assert!(searched || !(grammar.ends)(kind, &Found::default()), "{dialect} {event}");
            }
        }
    }
}
