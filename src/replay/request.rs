//! The request body that was read to make its key.

pub(super) use crate::held::Held;
pub use crate::held::HeldBody as ReplayRequest;
