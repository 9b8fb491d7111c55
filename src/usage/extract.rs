//! Picks the members of interest out of the tokens of a JSON text.

use super::{
    choices::Turn,
    members::{Found, Mark, Members, Node},
};
use crate::json::Token;

/// Follows a text along a tree of names. What it holds does not grow with the text: the reader tells 128 levels apart.
#[derive(Clone, Debug)]
pub(super) struct Extractor {
    members: Members,
    /// The containers from the outermost on, up to the first in which nothing is looked for.
    open: Vec<Open>,
    /// What the value is that follows the name.
    value: Option<Node>,
    /// The string has begun.
    inside: bool,
    found: Found,
}

/// A container in which something is looked for.
#[derive(Clone, Copy, Debug)]
enum Open {
    Object(Members),
    /// With what was said before it.
    Choice(Members, Turn),
    Last(Members),
    /// Each of its elements is read as such a value.
    Array(Node),
    /// All that matters is whether there is something in it, for such a value.
    Any(Node),
}

impl Extractor {
    pub(super) fn new(members: Members) -> Self {
        Self { members, open: vec![], value: None, inside: false, found: Found::default() }
    }

    /// Looks for these in the texts that come.
    pub(super) const fn look_for(&mut self, members: Members) {
        self.members = members;
    }

    /// What was found so far.
    pub(super) const fn found(&self) -> &Found {
        &self.found
    }

    /// Takes the next token, with the depth behind it.
    #[inline]
    pub(super) fn token(&mut self, token: Token<'_>, depth: usize) {
        let within = match token {
            Token::Object | Token::Array => depth - 1,
            Token::End => depth + 1,
            _ => depth,
        };
        if self.open.len() == within {
            self.take(token);
        }
    }

    fn take(&mut self, token: Token<'_>) {
        match token {
            Token::Object | Token::Array => self.begin(matches!(token, Token::Object)),
            Token::End => self.end(),
            Token::Name(name) => self.name(name),
            Token::Piece(piece) => self.piece(piece),
            Token::String => self.string(),
            Token::Number(number) => self.number(number),
            Token::Bool(true) => self.there(),
            Token::Bool(false) | Token::Null => self.element(),
        }
    }

    /// What the next value is.
    fn node(&self) -> Option<Node> {
        match self.open.last() {
            None => Some(Node::Object(self.members)),
            Some(Open::Array(node)) => Some(*node),
            Some(_) => self.value,
        }
    }

    fn begin(&mut self, object: bool) {
        self.element();
        let open = match (self.node(), object) {
            (Some(Node::Object(members)), true) => Open::Object(members),
            (Some(Node::Choice(members)), true) => {
                Open::Choice(members, std::mem::take(&mut self.found.turn))
            }
            (Some(Node::Last(members)), true) => Open::Last(members),
            (Some(node @ (Node::Object(_) | Node::Choice(_) | Node::Last(_))), false) => {
                Open::Array(node)
            }
            (Some(node @ (Node::Content | Node::Mark(_))), _) => Open::Any(node),
            _ => return,
        };
        self.open.push(open);
        self.value = None;
    }

    fn end(&mut self) {
        match self.open.pop() {
            Some(Open::Choice(_, outer)) => {
                let turn = std::mem::replace(&mut self.found.turn, outer);
                self.found.choices.one(turn);
            }
            Some(Open::Last(_)) => self.found.mark(Mark::Last),
            _ => {}
        }
        if self.open.is_empty() {
            self.found.choices.all(std::mem::take(&mut self.found.turn));
        }
    }

    fn name(&mut self, name: &[u8]) {
        self.element();
        self.value = match self.open.last() {
            Some(Open::Object(members) | Open::Choice(members, _) | Open::Last(members)) => {
                let known = members.iter().find(|(known, _)| known.as_bytes() == name);
                known.map(|(_, node)| *node)
            }
            _ => None,
        };
        if let Some(Node::Named(mark)) = self.value {
            self.found.mark(mark);
        }
    }

    /// There is something in the container.
    fn element(&mut self) {
        if let Some(Open::Any(node)) = self.open.last() {
            self.found.is_there(*node);
        }
    }

    fn piece(&mut self, piece: &[u8]) {
        let Some(node) = self.node() else { return };
        if let Node::Text(text) = node {
            if !std::mem::replace(&mut self.inside, true) {
                self.found.begin(text);
            }
            self.found.push(text, piece);
        } else {
            self.there();
        }
    }

    fn string(&mut self) {
        self.element();
        let begun = std::mem::take(&mut self.inside);
        if let Some(Node::Text(text)) = self.node() {
            if !begun {
                self.found.begin(text); // It is empty.
            }
            self.found.finish(text);
        }
    }

    fn number(&mut self, number: Option<u64>) {
        match (self.node(), number) {
            (Some(Node::Count(count)), Some(number)) => self.found.counts.set(count, number),
            (Some(Node::Index), Some(number)) => self.found.turn.index = number,
            (_, Some(0)) => self.element(),
            _ => self.there(),
        }
    }

    /// A value that is not empty.
    fn there(&mut self) {
        self.element();
        if let Some(node) = self.node() {
            self.found.is_there(node);
        }
    }

    /// Begins with another text.
    pub(super) fn clear(&mut self) {
        self.open.clear();
        (self.value, self.inside) = (None, false);
        self.found.clear();
    }
}
