//! The id of an exchange.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// Names an exchange, in headers, logs and databases. `Display` gives lower-case hexadecimal digits and a dash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExchangeId {
    process: u64,
    number: u64,
}

impl ExchangeId {
    pub(crate) fn next() -> Self {
        static PROCESS: OnceLock<u64> = OnceLock::new();
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        // The random keys of std's hasher tell processes apart; nothing relies on them being secret.
        let process = *PROCESS.get_or_init(|| RandomState::new().hash_one(std::process::id()));
        Self { process, number: NUMBER.fetch_add(1, Ordering::Relaxed) }
    }
}

impl fmt::Display for ExchangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:x}", self.process, self.number)
    }
}
