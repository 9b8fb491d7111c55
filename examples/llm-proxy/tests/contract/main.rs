//! The contract of `llm-proxy`, seen from outside: the real binary, real sockets, upstreams that fail as told.
// Clippy's own exception for tests does not reach the functions that tests share.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod aborts;
mod admin;
mod client;
mod coalesce;
mod command_line;
mod connections;
mod cors;
mod dodge;
mod drain;
mod early_head;
mod endings;
mod exactly_one;
mod expect;
mod forwarding;
mod heads;
mod heartbeats;
mod isolation;
mod labels;
mod ledger;
mod log;
mod looks_alike;
mod memory;
mod metrics;
mod outcomes;
mod page;
mod refusals;
mod replay;
mod retries;
mod shutdown;
mod tenants;
mod timeouts;
mod unclean;
mod unread;
mod uploads;
mod usage;
mod websocket;
mod whole;
