//! Reads the members of interest out of JSON: a tree of names says which.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::choices::{Choices, Turn};

/// What to look for. A value of another kind than expected counts as absent.
pub(super) enum Node {
    /// Members of an object. An array is read as its objects, one after another: the later wins.
    Object(Members),
    /// An object for each of several answers: what is in it is said of that one.
    Choice(Members),
    /// An object that only the last event has.
    Last(Members),
    Text(Text),
    Count(Count),
    /// Anything but `null` and `false`.
    Mark(Mark),
    /// Which of several answers it is.
    Index,
    /// What a model says: anything but `null`, `false`, and what is empty.
    Content,
}

pub(super) type Members = &'static [(&'static str, Node)];

/// Texts that are looked for.
#[derive(Clone, Copy)]
pub(super) enum Text {
    Model,
    Finish,
    /// The type of the event or the object.
    Kind,
    /// Whatever else a dialect needs.
    Other,
}

/// Counts that are looked for, with the meaning that the dialect gives them.
#[derive(Clone, Copy)]
pub(super) enum Count {
    Input,
    Output,
    Cached,
    CacheWrite,
    Reasoning,
    /// Input of tools, where it is apart.
    ToolInput,
    Total,
    /// How many answers a request asks for.
    Asked,
}

/// What only has to be there.
#[derive(Clone, Copy)]
pub(super) enum Mark {
    Done,
    Error,
    Choices,
    Candidates,
    CreatedAt,
    Message,
    FinishReason,
    StopReason,
    CamelStopReason,
    Embeddings,
    Last,
}

/// The counts that were found, or that were found so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts([Option<u64>; 8]);

/// What is counted of the input, and of the output: the first of each says that there is such a count.
const GROUPS: [&[Count]; 3] = [
    &[Count::Input, Count::Cached, Count::CacheWrite, Count::ToolInput],
    &[Count::Output, Count::Reasoning],
    &[Count::Total],
];

impl Counts {
    pub(super) const fn get(&self, count: Count) -> Option<u64> {
        self.0[count as usize]
    }

    /// A nought takes nothing back: some say the same count twice, in their own way and, as a nought, in another's.
    pub(super) fn set(&mut self, count: Count, value: u64) {
        if value > 0 || self.0[count as usize].is_none() {
            self.0[count as usize] = Some(value);
        }
    }

    pub(super) fn any(&self) -> bool {
        self.0.iter().any(Option::is_some)
    }

    /// Takes what is said later in place of what was said before: all of the input's counts together, unless they are nought,
    /// and all of the output's.
    pub(super) fn replace(&mut self, later: Self) {
        for group in GROUPS {
            let replaces = group.iter().any(|count| later.get(*count) > Some(0));
            let replaces_all = replaces && later.get(group[0]).is_some();
            for count in group {
                let (known, said) = (self.get(*count), later.get(*count));
                self.0[*count as usize] = match (replaces_all, replaces) {
                    (true, _) => said,
                    (false, true) => said.or(known),
                    (false, false) => known.or(said),
                };
            }
        }
    }

    /// `first` with those of `others` that were said.
    pub(super) fn sum(&self, first: Count, others: &[Count]) -> Option<u64> {
        let others = others.iter().filter_map(|count| self.get(*count));
        self.get(first).map(|first| others.fold(first, u64::saturating_add))
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found<'a> {
    texts: [Option<Cow<'a, str>>; 4],
    pub(super) counts: Counts,
    pub(super) choices: Choices,
    /// The answer that is being read, or all of it where there is only one.
    turn: Turn,
    marks: [bool; 11],
}

impl<'a> Found<'a> {
    /// Reads JSON. `None`: it is malformed.
    pub(super) fn read(json: &'a [u8], members: Members) -> Option<Self> {
        let mut found = Self::default();
        let mut json = serde_json::Deserializer::from_slice(json);
        let reader = Reader { node: &Node::Object(members), found: &mut found };
        reader.deserialize(&mut json).and_then(|()| json.end()).ok()?;
        found.choices.all(std::mem::take(&mut found.turn));
        Some(found)
    }

    /// A text, if it is not empty.
    pub(super) fn text(&self, text: Text) -> Option<&str> {
        self.texts[text as usize].as_deref().filter(|text| !text.is_empty())
    }

    pub(super) fn has(&self, mark: Mark) -> bool {
        self.marks[mark as usize]
    }
}

struct Reader<'n, 'f, 'de> {
    node: &'n Node,
    found: &'f mut Found<'de>,
}

impl<'de> Reader<'_, '_, 'de> {
    fn text(self, text: Cow<'de, str>) {
        match self.node {
            Node::Text(name) => {
                self.found.turn.finished |= matches!(name, Text::Finish) && !text.is_empty();
                self.found.texts[*name as usize] = Some(text);
            }
            Node::Content if text.is_empty() => {}
            _ => self.mark(),
        }
    }

    fn mark(self) {
        match self.node {
            Node::Mark(mark) => self.found.marks[*mark as usize] = true,
            Node::Content => self.found.turn.goes_on = true,
            _ => {}
        }
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        if value {
            self.mark();
        }
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        match self.node {
            Node::Count(count) => self.found.counts.set(*count, value),
            Node::Index => self.found.turn.index = value,
            _ => self.mark(),
        }
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.mark(); // A negative number counts nothing.
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        // Some write whole numbers as `69.0`. Above 2^53 it would be another number.
        let whole = value.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&value);
        self.visit_u64(if whole { value as u64 } else { return Ok(()) })
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<(), E> {
        self.text(Cow::Borrowed(text));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        match self.node {
            Node::Text(_) => self.text(Cow::Owned(text.to_owned())),
            Node::Content if text.is_empty() => {}
            _ => self.mark(),
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { node, found } = self;
        let mut empty = true;
        match node {
            Node::Object(_) | Node::Choice(_) | Node::Last(_) => {
                while seq.next_element_seed(Reader { node, found: &mut *found })?.is_some() {}
            }
            _ => {
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    empty = false;
                }
            }
        }
        if !(empty && matches!(node, Node::Content)) {
            Self { node, found }.mark();
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
        while let Some(node) = map.next_key_seed(Name(members))? {
            empty = false;
            match node {
                Some(node) => map.next_value_seed(Reader { node, found: &mut *found })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if let Some(outer) = outer {
            let turn = std::mem::replace(&mut found.turn, outer);
            found.choices.one(turn);
        } else if let Node::Last(_) = node {
            found.marks[Mark::Last as usize] = true;
        } else if !(empty && matches!(node, Node::Content)) {
            Self { node, found }.mark();
        }
        Ok(())
    }
}

/// Finds the node of a name.
struct Name(&'static [(&'static str, Node)]);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<&'static Node>;

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<Self::Value, D::Error> {
        name.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<&'static Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().find(|(known, _)| *known == name).map(|(_, node)| node))
    }
}
