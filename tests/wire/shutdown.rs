//! Servers that stop, orderly or not: truths.md 6, faults.md 35 to 37, 39 and 41.

mod graceful;
mod hooks;
mod killed;
mod runtimes;
