//! What to look for in JSON, a tree of names, and what was found.

use super::choices::{Choices, Turn};

/// A longer text is no name of anything, and is taken for an empty one.
pub(super) const LONGEST_TEXT: usize = 256;

/// What to look for. A value of another kind than expected counts as absent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Node {
    /// Members of an object. An array is read as its objects, one after another: the later wins.
    Object(Members),
    /// An object for each of several answers: what is in it is said of that one.
    Choice(Members),
    /// An object that only the last event has.
    Last(Members),
    Text(Text),
    Count(Count),
    /// Anything but `null`, `false`, and what is empty: a nought, a text, an array or an object without anything in it.
    Mark(Mark),
    /// A member of this name, whatever its value.
    Named(Mark),
    /// Which of several answers it is.
    Index,
    /// What a model says, if it is something, as with a mark.
    Content,
}

pub(super) type Members = &'static [(&'static str, Node)];

/// Texts that are looked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Text {
    Model,
    Finish,
    /// The type of an event.
    Kind,
    /// Whatever else a dialect needs.
    Other,
}

/// Counts that are looked for, with the meaning that the dialect gives them.
#[derive(Clone, Copy, Debug)]
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
#[derive(Clone, Copy, Debug)]
pub(super) enum Mark {
    Done,
    Error,
    JsonRpc,
    Choice,
    Candidate,
    Response,
    CreatedAt,
    Delta,
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
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    texts: [Vec<u8>; 4],
    pub(super) counts: Counts,
    pub(super) choices: Choices,
    /// The answer that is being read, or all of it where there is only one.
    pub(super) turn: Turn,
    /// A bit for each.
    marks: u16,
}

impl Found {
    /// A text, if it is not empty.
    pub(super) fn text(&self, text: Text) -> Option<&str> {
        std::str::from_utf8(&self.texts[text as usize]).ok().filter(|text| !text.is_empty())
    }

    pub(super) const fn has(&self, mark: Mark) -> bool {
        self.marks & (1 << mark as u16) != 0
    }

    pub(super) const fn mark(&mut self, mark: Mark) {
        self.marks |= 1 << mark as u16;
    }

    /// There is something where this is looked for.
    #[inline]
    pub(super) const fn is_there(&mut self, node: Node) {
        match node {
            Node::Mark(mark) => self.mark(mark),
            Node::Content => self.turn.goes_on = true,
            _ => {}
        }
    }

    /// Begins a text anew.
    pub(super) fn begin(&mut self, text: Text) {
        self.texts[text as usize].clear();
    }

    #[inline]
    pub(super) fn push(&mut self, text: Text, piece: &[u8]) {
        let held = &mut self.texts[text as usize];
        let room = (LONGEST_TEXT + 1).saturating_sub(held.len());
        held.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    pub(super) fn finish(&mut self, text: Text) {
        let held = &mut self.texts[text as usize];
        if matches!(text, Text::Finish) {
            // The first value of each enumeration of Google's says that there is none.
            if held.ends_with(b"_UNSPECIFIED") {
                held.clear();
            }
            self.turn.finished |= !held.is_empty();
        }
        if held.len() > LONGEST_TEXT {
            held.clear();
        }
    }

    /// Forgets all of it, and keeps its memory.
    pub(super) fn clear(&mut self) {
        let mut texts = std::mem::take(&mut self.texts);
        texts.iter_mut().for_each(Vec::clear);
        *self = Self { texts, ..Self::default() };
    }
}
