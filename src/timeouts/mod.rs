//! Ends a response that takes too long.

mod error;
#[cfg(test)]
pub(crate) mod tests;

pub use self::error::{Limit, TimedOut};
