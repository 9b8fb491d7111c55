//! Tower layers for the life of a streaming HTTP response.
//!
//! Between a client and a slow, long, streaming upstream (server-sent events of a language model, gRPC, NDJSON, a long
//! download) four things go wrong again and again: a proxy buffers, and somebody's idle timer kills the request; a cancel
//! waits for the next chunk; a stuck upstream holds its connection; what a stream cost is lost when the client hangs up.
//! Each layer here takes care of one such thing. Each works alone, under `axum::Router::layer`, `tower::ServiceBuilder`, in a
//! tonic server and around a hyper client; each body works without tower.
//!
//! | layer | what it does | changes bytes |
//! |---|---|---|
//! | [`TunnelLayer`](tunnel) | makes the bytes of a WebSocket or another upgrade the body of its response | no |
//! | [`IdleKeepaliveLayer`](keepalive) | sends heartbeats while the stream is idle, never inside an event | between events |
//! | [`FinalFrameLayer`](final_frame) | tells the client, in the stream, that it ended badly | at an unclean end |
//! | [`DetachLayer`](detach) | goes on reading after the client left, bounded, so that its cost is known | no |
//! | [`EarlyHeadLayer`](early_head) | commits the head of a stream whose upstream takes long for its own | no |
//! | [`AbortLayer`](abort) | ends a response from outside at once, with a reason | cuts |
//! | [`TimeoutsLayer`](timeouts) | ends a response that takes too long: upload, head, first frame, idle, total, unread | cuts |
//! | [`UploadLayer`](upload) | watches the request's body, so that a slow upload is not taken for a slow service | no |
//! | [`FinalizeLayer`](finalize) | calls a hook exactly once with the truth about how it ended | no |
//! | `IncludeUsageLayer` (feature `usage`) | asks an OpenAI upstream for the usage, and keeps it from a client that did not | one member, one event |
//! | `ReplayLayer` (feature `replay`) | serves a complete answer again to an equal request | no |
//! | [`TeeLayer`](tee) | captures what streams through, bounded | no |
//! | `TerminatorGuardLayer` (feature `usage`) | ends a stream when it says that it ends: an end before is an error, whatever comes after is none | at such an end |
//! | [`FirstFrameLayer`](first_frame) | commits the head only when the stream has begun, so that a failure before is a status | no |
//! | [`CoalesceLayer`](coalesce) | makes one frame of those that are already waiting | no |
//! | [`IsolateLayer`](isolate) | reads a body that blocks its thread on a thread of its own | no |
//!
//! # The order
//!
//! The table's, outermost first: what faces the client, what may cut, what only watches. Trace and compression layers go
//! outside of all. A layer that cuts stands outside of those that watch, so that a cut reaches the upstream and the hook at
//! once, even while the client is not reading. The limit `unread` alone, in a [`TimeoutsLayer`](timeouts) of its own, belongs
//! outside of [`DetachLayer`](detach): a client that stops reading is then drained as one that leaves. A wrong order does not
//! give a wrong outcome, since all layers share one [`Exchange`](exchange), only a later one. What a layer can not know is a
//! call that never reached it (after an abort before the call, the layers inside of [`AbortLayer`](abort) have nothing to
//! report), and a reader that is not there when another layer reads ([`FirstFrameLayer`](first_frame), outside of those that
//! watch).
//!
//! `axum::serve` leaves Nagle's algorithm on, which holds a last small write back for up to 40 ms: set `TCP_NODELAY` with
//! `axum::serve::ListenerExt::tap_io`.
//!
//! [`Lifeline`] is this order with defaults, so that nobody can get it wrong:
//!
//! ```
//! use std::{convert::Infallible, time::Duration};
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_lifeline::{Lifeline, finalize::FinalizeLayer, tee::Recording};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let (ended, mut endings) = tokio::sync::mpsc::unbounded_channel();
//! let lifeline = Lifeline::new();
//! let layer = lifeline.layer(FinalizeLayer::new(move |_request| {
//!     let ended = ended.clone();
//!     move |ending| drop(ended.send(ending))
//! }));
//! let service = layer.layer(service_fn(|_: Request<()>| async {
//!     let mut response = Response::new(Full::<Bytes>::from("data: hello\n\n"));
//!     response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
//!     Ok::<_, Infallible>(response)
//! }));
//!
//! let response = service.oneshot(Request::new(())).await.unwrap();
//! // lifeline.streams().abort(&id, "operator pressed stop")
//! assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "data: hello\n\n");
//!
//! let ending = endings.recv().await.unwrap();
//! assert_eq!(ending.outcome.as_str(), "completed");
//! assert_eq!(ending.exchange.fact::<Recording>().unwrap().to_bytes(), "data: hello\n\n");
//! # }
//! ```
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `final-frame` | yes | [`final_frame`], which writes JSON, and [`Lifeline`] |
//! | `tracing` | yes | [`finalize::FinalizeLayer::traced`]; [`abort::ask_every`] says what went wrong |
//! | `usage` | no | [`usage`], which reads the token usage of language models from the passing stream |
//! | `replay` | no | `ReplayLayer`, which serves complete answers again to equal requests; implies `usage` |
//! | `h2` | no | an aborted HTTP/2 stream is reset with a chosen code; bound to version 0.4 of the crate `h2` |
//!
//! # What is promised of every layer
//!
//! Nothing is boxed or changed of a service's error. No body needs to be `Default`, `Sync` or `Clone`. After the end a body
//! gives `None` for ever and its inner body is gone. Every frame costs tokio's cooperative budget, so that a body that is
//! always ready starves nobody. 101 and CONNECT pass untouched, unless the response
//! says that it is a [`tunnel`]. Nothing allocates per frame
//! ([`coalesce`] does once for what it makes of several). tokio's clock is the only one.
//!
//! Every layer is ready at once. A request for a service that is not, such as one behind a queue (`ConcurrencyLimit`, `Buffer`),
//! waits in its response future, where its exchange is known already: it can be aborted, limits and an early head hold for it,
//! and it has an ending. So services are to be `Clone`, as hyper, axum and tonic ask of them too, and what sheds load or
//! chooses by readiness belongs inside: see [`ready`].
//!
//! A reader that was told by `is_end_stream` that nothing follows may believe it: from then on no abort, limit or heartbeat
//! comes, and the outcome is `completed`, also when the flag came true between two polls.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod abort;
mod align;
mod aligned;
pub mod coalesce;
mod contain;
mod cut;
pub mod detach;
pub mod early_head;
pub mod error;
pub mod exchange;
#[cfg(feature = "final-frame")]
pub mod final_frame;
pub mod finalize;
pub mod first_frame;
mod flag;
mod grpc;
mod head;
#[cfg(feature = "usage")]
mod held;
pub mod isolate;
mod json;
pub mod keepalive;
// Who reads it while it is written, and frees it before its end, is of `replay`.
#[cfg_attr(not(feature = "replay"), allow(dead_code))]
mod log;
pub mod ready;
#[cfg(feature = "replay")]
pub mod replay;
mod span;
pub mod sse;
#[cfg(feature = "final-frame")]
pub mod stack;
pub mod tee;
pub mod timeouts;
mod timer;
pub mod tunnel;
pub mod upload;
#[cfg(feature = "usage")]
pub mod usage;
pub mod watch;
pub mod wrap;

pub use crate::head::Media;
#[cfg(feature = "final-frame")]
pub use crate::stack::Lifeline;

/// Runs the README's example.
#[cfg(all(doctest, feature = "final-frame"))]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
