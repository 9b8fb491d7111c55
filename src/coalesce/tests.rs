//! Each row of the module's table.

use std::pin::Pin;

use bytes::Bytes;
use http_body_util::BodyExt;
use testkit::{Polled, Script, Wakes, poll_body};

use super::CoalesceBody;

mod ends;
mod gathering;
mod layer;
mod shape;

type Body = CoalesceBody<Script>;

const LIMIT: usize = 100;

fn gathers(script: Script) -> Body {
    CoalesceBody::new(script, LIMIT)
}

fn poll(body: &mut Body) -> Polled<Script> {
    poll_body(Pin::new(body), &Wakes::new().waker())
}

/// The next frame, which is one of data.
async fn next(body: &mut Body) -> Bytes {
    body.frame().await.unwrap().unwrap().into_data().unwrap()
}
