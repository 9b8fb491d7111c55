//! Upstreams that do not simply answer, and calls that are not simply awaited.

use std::{
    future::{Ready, pending, ready},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use http::{Request, Response};
use testkit::{Log, Script, ScriptError};
use tower::{Service, service_fn};

use crate::{
    probe::Probe,
    subjects::{Call, Outer, Subject, Upstream},
};

/// Never answers, and logs when its future is dropped.
pub(crate) fn hanging(log: &Log) -> Upstream {
    let log = log.clone();
    Upstream::new(service_fn(move |_| {
        let held = Script::new().log_into(&log);
        async move {
            let _held = held;
            pending().await
        }
    }))
}

pub(crate) fn failing(message: &'static str) -> Upstream {
    Upstream::new(service_fn(move |_| ready(Err(ScriptError::new(message)))))
}

/// Panics in its future.
pub(crate) fn panicking(message: &'static str) -> Upstream {
    Upstream::new(service_fn(move |_| async move { panic!("{message}") }))
}

/// Panics in its call, before there is a future.
pub(crate) fn panicking_at_once(message: &'static str) -> Upstream {
    Upstream::new(service_fn(move |_| -> Ready<Result<Response<Script>, ScriptError>> {
        panic!("{message}")
    }))
}

pub(crate) fn call(subject: &Subject, probe: &Probe, upstream: Upstream) -> Call {
    subject.around(upstream, probe).call(Request::new(Script::new()))
}

pub(crate) fn poll_call(call: &mut Call) -> Poll<Result<Response<Outer>, ScriptError>> {
    Pin::new(call).poll(&mut Context::from_waker(Waker::noop()))
}
