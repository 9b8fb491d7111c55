//! Reasons, children, and who waits.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use testkit::Script;
use tokio::time::timeout;

use super::*;
use crate::abort::{AbortBody, AbortKind, AbortReason};

#[test]
fn a_kind_has_its_name_and_its_grpc_code() {
    let expect = [
        (AbortKind::Requested, "aborted", 1),
        (AbortKind::Deadline, "deadline", 4),
        (AbortKind::Overload, "overload", 8),
        (AbortKind::Shutdown, "shutdown", 14),
        (AbortKind::Custom("quota".into()), "quota", 1),
    ];
    for (kind, name, code) in expect {
        assert_eq!((kind.as_str(), kind.grpc_code()), (name, code));
        let reason = AbortReason::from(kind.clone());
        assert_eq!(
            (reason.kind(), reason.text(), reason.to_string()),
            (&kind, name, name.to_owned())
        );
        let reason = reason.with_text(String::from("at noon"));
        assert_eq!((reason.kind(), reason.text()), (&kind, "at noon"));
    }
    let expect = AbortReason::new(AbortKind::Requested).with_text("stop");
    assert_eq!(
        (AbortReason::from("stop"), AbortReason::from(String::from("stop"))),
        (expect.clone(), expect)
    );
}

#[test]
fn the_first_reason_stays_and_only_its_abort_is_told_so() {
    let handle = AbortHandle::default();
    let clone = handle.clone();
    assert_eq!((handle.is_aborted(), handle.reason()), (false, None));
    assert!(handle.abort("first"));
    assert!(!clone.abort("second"));
    assert_eq!((clone.is_aborted(), clone.reason()), (true, Some("first".into())));
    assert!(format!("{handle:?}").contains("first"));
}

#[test]
fn a_child_is_aborted_with_its_parent_and_can_be_aborted_by_itself() {
    let root = AbortHandle::new();
    let (one, two) = (root.child(), root.child());
    let grandchild = one.child();
    assert!(two.abort("alone"));
    assert!(!root.is_aborted() && !one.is_aborted());
    assert!(root.abort("all"));
    let text = |handle: &AbortHandle| handle.reason().unwrap().text().to_owned();
    assert_eq!(
        (text(&one), text(&grandchild), text(&two)),
        ("all".into(), "all".into(), "alone".into())
    );
    assert!(!one.abort("late") && !grandchild.abort("late"));
}

#[test]
fn a_child_of_an_aborted_handle_is_born_aborted_for_the_same_reason() {
    let root = AbortHandle::new();
    root.abort(AbortKind::Shutdown);
    let child = root.child();
    assert_eq!(child.reason(), Some(AbortKind::Shutdown.into()));
    assert_eq!(child.child().reason(), Some(AbortKind::Shutdown.into()));
    assert_eq!(root.dependents(), 0);
}

/// faults.md 29.
#[tokio::test]
async fn dropping_every_clone_of_a_handle_aborts_nothing() {
    let handle = AbortHandle::new();
    let (child, body) = (handle.child(), AbortBody::new(Full::<Bytes>::from("x"), &handle));
    drop((handle.clone(), handle));
    assert!(!child.is_aborted());
    assert_eq!(body.collect().await.unwrap().to_bytes(), "x");
}

#[tokio::test]
async fn many_may_wait_for_the_abort_before_and_after_it() {
    let handle = AbortHandle::new();
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let handle = handle.child();
            tokio::spawn(async move { handle.aborted().await })
        })
        .collect();
    tokio::task::yield_now().await;
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
    handle.abort("stop");
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap().text(), "stop");
    }
    assert_eq!(handle.aborted().await.text(), "stop");
}

#[tokio::test(start_paused = true)]
async fn waiting_for_the_abort_may_be_given_up_and_begun_again() {
    let handle = AbortHandle::new();
    for _ in 0..3 {
        assert!(timeout(Duration::from_secs(1), handle.aborted()).await.is_err());
    }
    handle.abort("stop");
    assert_eq!(handle.aborted().await.text(), "stop");
}

#[test]
fn what_depends_on_a_handle_is_counted_and_forgotten_when_it_is_gone() {
    let handle = AbortHandle::new();
    let children: Vec<_> = (0..10).map(|_| handle.child()).collect();
    let grandchild = children[0].child();
    let bodies: Vec<_> = (0..5).map(|_| AbortBody::new(Script::new().stall(), &handle)).collect();
    assert_eq!((handle.dependents(), children[0].dependents()), (15, 1));
    drop(bodies);
    assert_eq!(handle.dependents(), 10);
    drop(children);
    assert_eq!(handle.dependents(), 1, "a grandchild still needs its parent");
    drop(grandchild);
    assert_eq!(handle.dependents(), 0);
}

#[test]
fn a_place_in_a_handle_that_was_left_is_used_again_without_harm() {
    let handle = AbortHandle::new();
    let first = handle.child();
    drop(first);
    let second = handle.child();
    let third = handle.child();
    drop(second);
    assert_eq!(handle.dependents(), 1);
    handle.abort("stop");
    assert!(third.is_aborted());
    drop(third);
    assert_eq!(handle.dependents(), 0);
}

#[test]
fn for_one_exchange_the_answer_is_what_became_of_it() {
    let handle = AbortHandle::new();
    let mut body = AbortBody::new(Full::<Bytes>::from("x"), &handle);
    assert_eq!(read(&mut body), (b"x".to_vec(), None));
    assert!(!handle.abort("late"), "it had ended");

    let handle = AbortHandle::new();
    drop(AbortBody::new(Full::<Bytes>::from("x"), &handle));
    assert!(!handle.abort("late"), "its client had left");

    let handle = AbortHandle::new();
    let mut ended = AbortBody::new(Full::<Bytes>::from("x"), &handle);
    let mut live = AbortBody::new(Full::<Bytes>::from("y"), &handle);
    read(&mut ended);
    assert!(handle.abort("stop"), "one of the two");
    assert_eq!(read(&mut live), (Vec::new(), Some("stop".into())));
    assert_eq!(read(&mut ended), (Vec::new(), None));
}

#[test]
fn a_hook_that_aborts_again_while_it_is_being_aborted_does_not_hang() {
    struct Again(AbortHandle);
    impl Drop for Again {
        fn drop(&mut self) {
            assert!(!self.0.abort("again"));
            drop(self.0.child());
        }
    }
    let root = AbortHandle::new();
    let held = Again(root.clone());
    let body = Full::<Bytes>::from("x").map_frame(move |frame| {
        let _ = &held;
        frame
    });
    let child = root.child();
    let mut body = AbortBody::new(body, &child);
    assert!(root.abort("stop"));
    assert_eq!(read(&mut body), (Vec::new(), Some("stop".into())));
}
