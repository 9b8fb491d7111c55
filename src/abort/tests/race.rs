//! An abort on one thread, all else on another: nothing is lost, and what the one is told is what the other sees.

use std::{
    pin::pin,
    sync::{Barrier, mpsc::channel},
    thread,
};

use http::{Request, Response};
use testkit::{Eos, Script, ScriptError};
use tower::{Layer, Service, service_fn};

use super::*;
use crate::{
    abort::{AbortBody, AbortLayer},
    exchange::Outcome,
    finalize::{Ending, FinalizeLayer},
};

const ROUNDS: usize = 20_000;

/// Aborts a handle on another thread while `other` runs here, over and over; gives `check` what both said.
fn against_abort<T>(
    mut prepare: impl FnMut() -> (AbortHandle, T),
    mut check: impl FnMut(bool, AbortHandle, T),
    other: impl Fn(&AbortHandle, &mut T),
) {
    let start = Barrier::new(2);
    let (send, handles) = channel::<AbortHandle>();
    let (tell, told) = channel();
    thread::scope(|scope| {
        let start = &start;
        scope.spawn(move || {
            for handle in handles {
                start.wait();
                tell.send(handle.abort("stop")).unwrap();
            }
        });
        for round in 0..ROUNDS {
            let (handle, mut value) = prepare();
            send.send(handle.clone()).unwrap();
            start.wait();
            for _ in 0..round % 64 {
                std::hint::spin_loop(); // So that either side is first now and then.
            }
            other(&handle, &mut value);
            check(told.recv().unwrap(), handle, value);
        }
        drop(send);
    });
}

#[test]
fn no_child_is_lost() {
    against_abort(
        || (AbortHandle::new(), None),
        |first, handle, child: Option<AbortHandle>| {
            assert!(first);
            assert_eq!(child.unwrap().reason().unwrap().text(), "stop");
            assert_eq!(handle.dependents(), 0);
        },
        |handle, child| *child = Some(handle.child().child()),
    );
}

#[test]
fn no_body_is_lost() {
    against_abort(
        || (AbortHandle::new(), None),
        |first, handle, body: Option<AbortBody<Script>>| {
            assert!(first);
            assert_eq!(read(&mut body.unwrap()), (Vec::new(), Some("stop".into())));
            assert_eq!(handle.dependents(), 0);
        },
        |handle, body| *body = Some(AbortBody::new(Script::new().stall(), handle)),
    );
}

#[test]
fn a_body_that_ends_ends_as_the_abort_was_told() {
    let mut seen = [0, 0];
    for eos in [Eos::Truthful, Eos::Never] {
        against_abort(
            || {
                let handle = AbortHandle::new();
                let body = AbortBody::new(Script::new().data("x").eos(eos), &handle);
                (handle, (body, None))
            },
            |first, _, (_, end)| {
                let (bytes, aborted): (Vec<u8>, Option<String>) = end.unwrap();
                assert_eq!(aborted.is_some(), first, "told {first}, and the body {aborted:?}");
                assert!(first || bytes == b"x");
                seen[usize::from(first)] += 1;
            },
            |_, (body, end)| *end = Some(read(body)),
        );
    }
    assert!(seen.iter().all(|seen| *seen > 0), "both orders: {seen:?}");
}

#[test]
fn a_whole_exchange_ends_as_the_abort_was_told_and_as_it_is_reported() {
    let (tell, told) = channel();
    let mut seen = [0, 0];
    against_abort(
        || {
            let (handle, tell) = (AbortHandle::new(), tell.clone());
            let finalize = FinalizeLayer::new(move |_: &http::request::Parts| {
                let tell = tell.clone();
                move |ending: Ending| tell.send(ending.outcome).unwrap()
            });
            let source = handle.clone();
            let service = service_fn(|_: Request<()>| async {
                Ok::<_, ScriptError>(Response::new(Script::new().data("x").eos(Eos::Never)))
            });
            (handle, finalize.layer(AbortLayer::new(move |_| source.clone()).layer(service)))
        },
        |first, _, _| {
            let expect = if first { Outcome::Aborted } else { Outcome::Completed };
            assert_eq!(told.try_recv(), Ok(expect));
            assert!(told.try_recv().is_err());
            seen[usize::from(first)] += 1;
        },
        |_, service| {
            let mut cx = Context::from_waker(Waker::noop());
            let Poll::Ready(Ok(response)) = pin!(service.call(Request::new(()))).poll(&mut cx)
            else {
                panic!("it does not wait");
            };
            let answered = response.status() == 503;
            let mut body = response.into_body();
            let aborted = read(&mut body).1.is_some();
            assert!(!(answered && aborted), "an answer is whole");
        },
    );
    assert!(seen.iter().all(|seen| *seen > 0), "both orders: {seen:?}");
}

#[test]
fn of_many_aborts_one_is_the_first_and_its_reason_stays() {
    for _ in 0..2_000 {
        let handle = AbortHandle::new();
        let body = AbortBody::new(Script::new().stall(), &handle);
        let abort = |reason: &'static str| handle.abort(reason).then_some(reason);
        let winners = thread::scope(|scope| {
            let others = ["a", "b"].map(|reason| scope.spawn(move || abort(reason)));
            let mut winners = vec![abort("c")];
            winners.extend(others.map(|other| other.join().unwrap()));
            winners
        });
        let winners: Vec<_> = winners.into_iter().flatten().collect();
        assert_eq!(winners, [handle.reason().unwrap().text()]);
        drop(body);
    }
}
