//! Reads how many answers a request asks for, which all have to be there before a stream is whole.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;

use super::{
    extract::Extractor,
    members::{Count, Members, Node},
};
use crate::{
    exchange::Exchange,
    json::{Reader, Token},
    tee::Sink,
};

const COUNT: Node = Node::Count(Count::Asked);

/// `n` of OpenAI's, `candidateCount` of Gemini's, which takes both spellings.
const MEMBERS: Members =
    &[("n", COUNT), ("generationConfig", CONFIG), ("generation_config", CONFIG)];

const CONFIG: Node = Node::Object(&[("candidateCount", COUNT), ("candidate_count", COUNT)]);

/// How many answers are asked for, as a fact in the exchange. Nought: that was not said.
#[derive(Clone)]
pub(super) struct Asked(Arc<AtomicU64>);

impl Asked {
    pub(super) fn of(exchange: &Exchange) -> Option<u64> {
        let Self(asked) = exchange.fact()?;
        Some(asked.load(Ordering::Relaxed)).filter(|asked| *asked > 0)
    }
}

/// Reads from a request body how many answers are asked for. Made by
/// [`TeeRequestLayer::usage`](crate::tee::TeeRequestLayer::usage).
#[must_use]
pub struct RequestMeter {
    asked: Arc<AtomicU64>,
    json: Reader,
    members: Extractor,
    prompts: Option<Prompts>,
}

impl RequestMeter {
    pub(super) fn for_path(path: &str, exchange: Option<&Exchange>) -> Self {
        let asked = Arc::default();
        if let Some(exchange) = exchange {
            exchange.insert(Asked(Arc::clone(&asked)));
        }
        let path = path.trim_end_matches('/');
        let prompts = path.ends_with("/completions") && !path.ends_with("/chat/completions");
        Self {
            asked,
            json: Reader::default(),
            members: Extractor::new(MEMBERS),
            prompts: prompts.then(Prompts::default),
        }
    }
}

/// Counts the prompts of OpenAI's older completions, each of which has its answers: strings, or arrays of tokens, in an array.
#[derive(Debug, Default)]
struct Prompts {
    count: u64,
    /// What comes is in the value of `prompt`.
    named: bool,
}

impl Prompts {
    fn token(&mut self, token: Token<'_>, depth: usize) {
        match (depth, token) {
            (1, Token::Name(name)) => {
                self.named = name == b"prompt";
                if self.named {
                    self.count = 0; // Of several the last counts.
                }
            }
            (2, Token::String) | (3, Token::Array) if self.named => self.count += 1,
            _ => {}
        }
    }
}

impl Sink for RequestMeter {
    fn data(&mut self, data: Bytes) {
        let mut at = 0;
        while let Some((depth, token)) = self.json.next(&data, &mut at) {
            self.members.token(token, depth);
            if let Some(prompts) = &mut self.prompts {
                prompts.token(token, depth);
            }
        }
        if self.json.is_whole() {
            let asked = self.members.found().counts.get(Count::Asked).unwrap_or(0);
            let prompts = self.prompts.as_ref().map_or(0, |prompts| prompts.count);
            let asked = if prompts > 1 { asked.max(1).saturating_mul(prompts) } else { asked };
            self.asked.store(asked, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for RequestMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestMeter").field("asked", &self.asked).finish_non_exhaustive()
    }
}
