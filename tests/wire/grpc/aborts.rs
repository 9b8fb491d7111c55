//! How a call ends by an abort.

use std::{io, task::Poll, time::Duration};

use http_body::Frame;
use testkit::{H2Next, Reason, Script};
use tokio::time::{sleep, timeout};
use tonic::Code;
use tower::ServiceBuilder;
use tower_lifeline::{
    abort::{AbortHandle, AbortKind, AbortLayer, AbortReason},
    exchange::Outcome,
};

use super::{
    Stage, message, raw, read,
    service::{Answer, Tonic, call},
};
use crate::{server::LIMIT, stage::Does};

/// What a stream is reset with that was cut in the middle of a message, and what a client makes of it.
pub(super) const CUT: (Reason, Code) = if cfg!(feature = "h2") {
    (Reason::CANCEL, Code::Cancelled)
} else {
    (Reason::INTERNAL_ERROR, Code::Internal)
};

/// Reasons, and the status that says each.
fn reasons() -> [(AbortReason, Code); 5] {
    [
        ("stop".into(), Code::Cancelled),
        (AbortReason::new(AbortKind::Shutdown).with_text("see you"), Code::Unavailable),
        (AbortKind::Deadline.into(), Code::DeadlineExceeded),
        (AbortKind::Overload.into(), Code::ResourceExhausted),
        (AbortKind::Custom("budget".into()).into(), Code::Cancelled),
    ]
}

fn one_and_stall() -> Answer {
    Answer::bytes(Script::new().data(message("one")).stall())
}

#[tokio::test]
async fn an_abort_between_two_messages_ends_the_call_with_its_status() {
    for (reason, code) in reasons() {
        let mut stage = Stage::start(one_and_stall).await;
        let mut stream = call(stage.addr()).await.unwrap();
        assert_eq!(stream.next().await.unwrap(), "one");
        assert!(stage.handle.abort(reason.clone()));
        let status = stream.next().await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, reason.text()));
        let ending = stage.endings.next(LIMIT).await;
        assert_eq!((ending.outcome, ending.reason()), (Outcome::Aborted, Some(reason.text())));
    }
}

#[tokio::test]
async fn the_reason_is_percent_encoded_as_the_grammar_demands_and_no_more() {
    let stage = Stage::start(one_and_stall).await;
    let (_client, _, mut body) = raw(stage.addr()).await;
    assert_eq!(body.next(LIMIT).await, H2Next::Data(message("one")));
    stage.handle.abort("käse: 100 %\n");
    let H2Next::Trailers(trailers) = body.next(LIMIT).await else { panic!("no trailers") };
    assert_eq!(trailers["grpc-status"], "1");
    assert_eq!(trailers["grpc-message"], "k%C3%A4se: 100 %25%0A");
    assert_eq!(body.next(LIMIT).await, H2Next::End);

    let stage = Stage::start(|| Answer::Never).await;
    stage.handle.abort("käse: 100 %\n");
    let status = call(stage.addr()).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Cancelled, "käse: 100 %\n"));
}

#[tokio::test]
async fn a_message_that_was_taken_at_the_moment_of_the_abort_is_not_lost() {
    let handle = AbortHandle::new();
    let own = handle.clone();
    let stage = Stage::under(handle, move || {
        let own = own.clone();
        Answer::bytes(Does::new(move |_| {
            assert!(own.abort("stop"), "polled again after the abort");
            Poll::Ready(Some(Ok::<_, io::Error>(Frame::data(message("last")))))
        }))
    });
    let seen = read(&stage.await).await;
    assert_eq!(seen, (vec!["last".into()], Code::Cancelled, "stop".into()));
}

// faults.md 25.
#[tokio::test]
async fn an_abort_in_the_middle_of_a_message_resets_the_stream_and_gives_no_status() {
    let whole = message("a whole message");
    // In the length and in the message itself; the second half of a split message follows in the third case.
    for cut in [3, 5, 11] {
        let half = whole.slice(..cut);
        let sent = [message("one"), half.clone()].concat();
        let answer =
            move || Answer::bytes(Script::new().data(message("one")).data(half.clone()).stall());
        let mut stage = Stage::start(answer.clone()).await;
        let (_client, head, mut body) = raw(stage.addr()).await;
        assert!(!head.headers.contains_key("grpc-status"));
        let mut seen = Vec::new();
        while seen.len() < sent.len() {
            let H2Next::Data(data) = body.next(LIMIT).await else { panic!("after {seen:?}") };
            seen.extend_from_slice(&data);
        }
        assert!(stage.handle.abort("stop"));
        assert_eq!((seen, body.next(LIMIT).await), (sent, H2Next::Reset(CUT.0)), "at {cut}");
        assert_eq!(stage.endings.next(LIMIT).await.outcome, Outcome::Aborted);

        let stage = Stage::start(answer).await;
        let mut stream = call(stage.addr()).await.unwrap();
        assert_eq!(stream.next().await.unwrap(), "one");
        sleep(Duration::from_millis(20)).await;
        stage.handle.abort("stop");
        assert_eq!(stream.next().await.unwrap_err().code(), CUT.1, "at {cut}");
    }
}

#[tokio::test]
async fn an_abort_after_a_message_in_two_pieces_is_between_two_messages() {
    let stage = Stage::start(|| {
        let whole = message("a whole message");
        let script = Script::new().data(whole.slice(..3)).pending().data(whole.slice(3..9));
        Answer::bytes(script.pending().data(whole.slice(9..)).stall())
    });
    let stage = stage.await;
    let mut stream = call(stage.addr()).await.unwrap();
    assert_eq!(stream.next().await.unwrap(), "a whole message");
    stage.handle.abort(AbortKind::Shutdown);
    assert_eq!(stream.next().await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn an_abort_before_the_head_is_a_head_alone_with_its_status() {
    for before_the_call in [true, false] {
        for (reason, code) in reasons() {
            let stage = Stage::start(|| Answer::Never).await;
            let abort = || assert!(stage.handle.abort(reason.clone()));
            let addr = stage.addr();
            let calling = if before_the_call {
                abort();
                tokio::spawn(async move { raw(addr).await })
            } else {
                let calling = tokio::spawn(async move { raw(addr).await });
                let called = async {
                    while stage.handle.dependents() == 0 {
                        sleep(Duration::from_millis(1)).await;
                    }
                };
                timeout(LIMIT, called).await.expect("it was not called");
                abort();
                calling
            };
            let (_client, head, mut body) = calling.await.unwrap();
            assert_eq!((head.status.as_u16(), body.next(LIMIT).await), (200, H2Next::End));
            assert_eq!(head.headers["content-type"], "application/grpc");
            assert_eq!(head.headers["grpc-status"], (code as i32).to_string());
            assert_eq!(head.headers["grpc-message"], reason.text());
            assert_eq!(*stage.at_end.lock().unwrap(), [true], "a body follows the head");

            let Err(status) = call(addr).await else { panic!("the call has a stream") };
            assert_eq!((status.code(), status.message()), (code, reason.text()));
        }
    }
}

#[tokio::test]
async fn without_a_final_frame_an_abort_is_internal_to_the_client() {
    let handle = AbortHandle::new();
    let given = handle.clone();
    let layers = ServiceBuilder::new().layer(AbortLayer::new(move |_| given.clone()));
    let tonic = Tonic::start(layers, one_and_stall).await;
    let mut stream = call(tonic.addr()).await.unwrap();
    assert_eq!(stream.next().await.unwrap(), "one");
    assert!(handle.abort("stop"));
    assert_eq!(stream.next().await.unwrap_err().code(), Code::Internal);
}

// The chosen code is what tonic's client reads the status from.
#[cfg(feature = "h2")]
#[tokio::test]
async fn without_a_final_frame_an_abort_that_resets_with_cancel_is_cancelled() {
    let handle = AbortHandle::new();
    let given = handle.clone();
    let layer = AbortLayer::new(move |_| given.clone()).reset(Reason::CANCEL);
    let tonic = Tonic::start(ServiceBuilder::new().layer(layer), one_and_stall).await;
    let mut stream = call(tonic.addr()).await.unwrap();
    assert_eq!(stream.next().await.unwrap(), "one");
    assert!(handle.abort("stop"));
    assert_eq!(stream.next().await.unwrap_err().code(), Code::Cancelled);
}
