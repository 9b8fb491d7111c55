//! Futures that abort a handle.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{sync::oneshot, task::yield_now};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::abort::{AbortKind, AbortReason};

/// Counts the futures that hold one and are still there.
#[derive(Clone, Default)]
struct Alive(Arc<AtomicUsize>);

struct Token(Alive);

impl Alive {
    fn token(&self) -> Token {
        self.0.fetch_add(1, Ordering::SeqCst);
        Token(self.clone())
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Lets the runtime do what it has to.
    async fn settle(&self) -> usize {
        for _ in 0..10 {
            yield_now().await;
        }
        self.count()
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A trigger that never fires.
fn never(alive: &Alive) -> impl Future<Output = &'static str> + Send + use<> {
    let token = alive.token();
    async move {
        let _token = token;
        pending().await
    }
}

#[tokio::test]
async fn a_cancellation_token_aborts_the_handle_and_its_children() {
    let (token, handle) = (CancellationToken::new(), AbortHandle::new());
    let child = handle.child();
    handle.abort_when({
        let token = token.clone();
        async move {
            token.cancelled().await;
            AbortKind::Shutdown
        }
    });
    yield_now().await;
    assert!(!child.is_aborted());
    token.cancel();
    assert_eq!(child.aborted().await, AbortKind::Shutdown.into());
}

#[tokio::test]
async fn any_future_is_a_trigger_and_says_the_reason_in_any_form() {
    let overload = AbortReason::new(AbortKind::Overload).with_text("shed");
    let handles = [(); 4].map(|()| AbortHandle::new());
    handles[0].abort_when(async { "static" });
    handles[1].abort_when(async { String::from("owned") });
    handles[2].abort_when(async { AbortKind::Deadline });
    handles[3].abort_when({
        let overload = overload.clone();
        async { overload }
    });
    let expect = ["static".into(), "owned".into(), AbortKind::Deadline.into(), overload];
    for (handle, expect) in handles.iter().zip(expect) {
        assert_eq!(handle.aborted().await, expect);
    }
}

#[tokio::test]
async fn the_first_trigger_wins_and_the_others_end_with_it() {
    let (handle, alive) = (AbortHandle::new(), Alive::default());
    let (fire, fired) = oneshot::channel::<()>();
    handle.abort_when(never(&alive));
    handle.abort_when(async move {
        let _ = fired.await;
        "second"
    });
    handle.abort_when(never(&alive));
    assert_eq!(alive.settle().await, 2);
    fire.send(()).unwrap();
    assert_eq!(handle.aborted().await.text(), "second");
    assert_eq!(alive.settle().await, 0);
}

#[tokio::test]
async fn triggers_end_when_the_handle_is_aborted_by_hand_or_by_its_parent() {
    let (root, alive) = (AbortHandle::new(), Alive::default());
    let child = root.child();
    root.abort_when(never(&alive));
    child.abort_when(never(&alive));
    assert_eq!(alive.settle().await, 2);
    root.abort("stop");
    assert_eq!(alive.settle().await, 0);
    child.abort_when(never(&alive));
    assert_eq!(alive.settle().await, 0, "there is nothing left to abort");
}

#[tokio::test]
async fn triggers_end_when_nothing_depends_on_the_handle_any_more() {
    let (handle, alive) = (AbortHandle::new(), Alive::default());
    handle.abort_when(never(&alive));
    let (clone, child) = (handle.clone(), handle.child());
    drop(handle);
    assert_eq!(alive.settle().await, 1);
    drop(clone);
    assert_eq!(alive.settle().await, 1, "a child depends on it");
    drop(child);
    assert_eq!(alive.settle().await, 0);
}

#[tokio::test]
async fn a_trigger_that_panics_aborts_nothing_and_leaves_nothing_behind() {
    let (handle, alive) = (AbortHandle::new(), Alive::default());
    let token = alive.token();
    handle.abort_when(async move {
        assert_eq!(token.0.count(), 0, "the trigger panics");
        "not reached"
    });
    assert_eq!(alive.settle().await, 0);
    assert!(!handle.is_aborted());
    handle.abort_when(async { "next" });
    assert_eq!(handle.aborted().await.text(), "next");
}

#[tokio::test]
async fn a_trigger_that_fires_after_its_handle_is_gone_ends_and_aborts_nobody() {
    let (parent, alive) = (AbortHandle::new(), Alive::default());
    let (handle, token) = (parent.child(), alive.token());
    let (last, (fire, mut fired)) = (handle.clone(), oneshot::channel());
    handle.abort_when(async move {
        let _token = token;
        drop(last); // From within: the task ends itself.
        fire.send(()).unwrap();
        "nobody"
    });
    drop(handle);
    assert_eq!((parent.dependents(), alive.count()), (1, 1), "the trigger holds it");
    assert_eq!(alive.settle().await, 0);
    assert_eq!(fired.try_recv(), Ok(()), "it was to its end");
    assert_eq!((parent.dependents(), parent.is_aborted()), (0, false));
}

#[test]
#[should_panic(expected = "there is no reactor running")]
fn a_trigger_needs_a_runtime() {
    AbortHandle::new().abort_when(async { "stop" });
}
