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
use crate::{exchange::Exchange, json::Reader, tee::Sink};

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
}

impl RequestMeter {
    pub(super) fn in_exchange(exchange: Option<&Exchange>) -> Self {
        let asked = Arc::default();
        if let Some(exchange) = exchange {
            exchange.insert(Asked(Arc::clone(&asked)));
        }
        Self { asked, json: Reader::default(), members: Extractor::new(MEMBERS) }
    }
}

impl Sink for RequestMeter {
    fn data(&mut self, data: Bytes) {
        let mut at = 0;
        while let Some((depth, token)) = self.json.next(&data, &mut at) {
            self.members.token(token, depth);
        }
        if self.json.is_whole() {
            let asked = self.members.found().counts.get(Count::Asked);
            self.asked.store(asked.unwrap_or(0), Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for RequestMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestMeter").field("asked", &self.asked).finish_non_exhaustive()
    }
}
