//! Which bytes, and what becomes of trailers, errors, the end and the hints.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use testkit::{Eos, Polled, Script, ScriptError, drain};
use tokio::time::timeout;

use super::{COMMENT, SECOND, texts, timeline};
use crate::keepalive::{Heartbeat, IdleKeepaliveBody};

const PING: &str = "event: ping\ndata: {\"type\":\"ping\"}\n\n";

fn each_second(script: Script, heartbeat: Heartbeat) -> IdleKeepaliveBody<Script> {
    IdleKeepaliveBody::new(script, SECOND, heartbeat)
}

fn pause() -> Script {
    Script::new().sleep(SECOND * 3 / 2)
}

trait Pause {
    fn pause(self) -> Self;
}

impl Pause for Script {
    fn pause(self) -> Self {
        self.sleep(SECOND * 3 / 2)
    }
}

#[tokio::test(start_paused = true)]
async fn an_anthropic_ping_comes_only_after_the_first_event_and_a_comment_before() {
    let script = pause().data(": hi\n").pause().data("event: message_start\n").pause();
    let script = script.data("data: {}\n\n").pause().data("data: b\n\n").pause();
    let out = drain(each_second(script, Heartbeat::anthropic_ping())).await.data;
    let start = "event: message_start\ndata: {}\n\n";
    // The upstream's own comment is no event.
    let expect = [COMMENT, ": hi\n", COMMENT, COMMENT, start, PING, "data: b\n\n", PING].concat();
    assert_eq!(out, expect);
}

#[tokio::test(start_paused = true)]
async fn a_blank_line_stands_between_events() {
    let script = pause().data("data: a\n\ndata: b").pause().data("\n\n").pause();
    let out = drain(each_second(script, Heartbeat::blank_line())).await.data;
    assert_eq!(out, "\ndata: a\n\n\ndata: b\n\n\n");
}

#[tokio::test(start_paused = true)]
async fn bytes_of_ones_own_stand_between_events() {
    let own = Heartbeat::events(Bytes::from_static(b"event: alive\ndata: 1\n\n"));
    let script = Script::new().data("data: a\n\n").pause().data("data: b\n\n");
    let out = drain(each_second(script, own)).await.data;
    assert_eq!(out, "data: a\n\nevent: alive\ndata: 1\n\ndata: b\n\n");
}

#[tokio::test(start_paused = true)]
async fn a_space_stands_before_the_next_record_and_never_in_one() {
    let script = pause().data("{\"a\":1}\n{\"b\"").pause().data(":2}\n").pause().data("{\"c\":3}");
    let out = drain(each_second(script.pause(), Heartbeat::space())).await.data;
    assert_eq!(out, " {\"a\":1}\n {\"b\":2}\n {\"c\":3}"); // Nothing behind the last: its line goes on.
}

#[tokio::test(start_paused = true)]
async fn lines_of_ones_own_stand_between_records() {
    let own = Heartbeat::lines(Bytes::from_static(b"{}\n"));
    let script = Script::new().data("1\n[2").pause().data("]\n");
    assert_eq!(drain(each_second(script, own)).await.data, "1\n{}\n[2]\n");
}

#[tokio::test(start_paused = true)]
async fn no_heartbeat_is_no_heartbeat_and_nothing_is_held_back() {
    for none in [Heartbeat::none(), Heartbeat::events(Bytes::new())] {
        let script = Script::new().data("data: a").pause().data("\n\n").pause();
        let seen = timeline(each_second(script, none)).await;
        assert_eq!(texts(&seen), [(0.0, "data: a"), (1.5, "\n\n")]);
    }
}

#[tokio::test(start_paused = true)]
async fn trailers_wait_for_what_was_held_back_and_are_the_same() {
    let trailers =
        HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from_static("7"))]);
    let script = Script::new().data("data: a").data("\n").trailers(trailers.clone()).data("late");
    let log = script.log();
    let mut body = each_second(script, Heartbeat::comment());
    let seen = drain(&mut body).await;
    assert_eq!((seen.frames, seen.trailers), (vec![Bytes::from("data: a\n")], Some(trailers)));
    assert_eq!(log.count(|event| *event == testkit::Event::PollAfterEnd), 0);
    assert!(body.frame().await.is_none(), "it is fused");
}

#[tokio::test(start_paused = true)]
async fn an_error_waits_for_what_was_held_back_and_is_the_same() {
    let script = Script::new().data("data: a").pause().error("boom").data("late");
    let log = script.log();
    let mut body = each_second(script, Heartbeat::comment());
    let seen = drain(&mut body).await;
    assert_eq!(seen.frames, [COMMENT, "data: a"]);
    assert_eq!(seen.error.unwrap().to_string(), "boom");
    assert!(log.dropped_at().is_some(), "the inner body is gone");
    assert!(body.frame().await.is_none(), "it is fused");
}

#[tokio::test(start_paused = true)]
async fn at_the_end_what_was_held_back_goes_out_first() {
    let mut body =
        each_second(Script::new().data("data: a\n\nda").data("ta"), Heartbeat::comment());
    assert_eq!(drain(&mut body).await.frames, ["data: a\n\n", "data"]);
    assert!(body.frame().await.is_none(), "it is fused");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_stream_is_not_reported_while_something_is_held_back() {
    let mut body =
        each_second(Script::new().data("data: a\n\nda").data("ta"), Heartbeat::comment());
    let mut told = vec![body.is_end_stream()];
    while body.frame().await.is_some() {
        told.push(body.is_end_stream());
    }
    assert_eq!(told, [false, false, true]);
    let script = Script::new().data("half").trailers(HeaderMap::new()).eos(Eos::Always);
    let mut body = each_second(script, Heartbeat::comment());
    body.frame().await.unwrap().unwrap();
    assert!(!body.is_end_stream(), "the trailers are still to come");
    body.frame().await.unwrap().unwrap();
    assert!(body.is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn the_size_is_never_exact_where_a_heartbeat_may_come() {
    let hint = http_body::SizeHint::new();
    let mut upper = hint;
    upper.set_upper(100);
    for hint in [hint, upper] {
        let mut body =
            each_second(Script::new().data("data: a\n\n").hint(hint), Heartbeat::comment());
        for _ in 0..3 {
            assert_eq!((body.size_hint().lower(), body.size_hint().upper()), (0, None));
            body.frame().await.transpose().unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_of_exact_size_is_handed_on_as_it_is() {
    let script = Script::new().data("data").pause().data("!\n").exact_size(6);
    let mut body = each_second(script, Heartbeat::comment());
    assert_eq!(body.size_hint().exact(), Some(6));
    let seen = timeline(&mut body).await;
    assert_eq!(texts(&seen), [(0.0, "data"), (1.5, "!\n")]);
    assert_eq!(body.size_hint().exact(), Some(0));
    assert!(body.is_end_stream());
    assert_eq!(format!("{body:?}"), "IdleKeepaliveBody { interval: 1s, .. }");
}

#[tokio::test(start_paused = true)]
async fn a_mark_behind_a_heartbeat_is_taken_out_and_the_first_event_is_whole() {
    let script = pause().data("\u{feff}data: a\n\n").pause().data("data: b\n\n");
    let out = drain(each_second(script, Heartbeat::comment())).await.data;
    assert_eq!(out, [COMMENT, "data: a\n\n", COMMENT, "data: b\n\n"].concat());
    // Half of it is held back, and is no reason to wait.
    let script = Script::new().data(&b"\xef\xbb"[..]).pause().data(&b"\xbfdata: a\n\n"[..]);
    let out = drain(each_second(script, Heartbeat::comment())).await.data;
    assert_eq!(out, [COMMENT, "data: a\n\n"].concat());
    let script = Script::new().data("\u{feff}data: a\n\n").pause();
    let out = drain(each_second(script, Heartbeat::comment())).await.data;
    assert_eq!(out, ["\u{feff}data: a\n\n", COMMENT].concat());
}

/// Says that nothing follows, and has not ended yet.
struct Flagged(Script);

impl Body for Flagged {
    type Data = Bytes;
    type Error = ScriptError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled<Script> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}

// Whoever asked knows that nothing follows (http-body's contract), and may have told its own reader.
#[tokio::test(start_paused = true)]
async fn no_heartbeat_comes_behind_the_end_of_stream_flag() {
    let script = Script::new().data("data: a\n\n").sleep(SECOND * 5);
    let body = IdleKeepaliveBody::new(Flagged(script), SECOND, Heartbeat::comment());
    assert!(body.is_end_stream());
    assert_eq!(texts(&timeline(body).await), [(0.0, "data: a\n\n")]);
}

/// Comes to its end between two polls, of which nobody is told but who asks for the flag.
struct EndsUnpolled(Arc<AtomicBool>);

impl Body for EndsUnpolled {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn where_a_heartbeat_is_due_behind_a_flag_of_the_end_there_is_the_end() {
    let flag = Arc::default();
    let body = EndsUnpolled(Arc::clone(&flag));
    let mut body = IdleKeepaliveBody::new(body, SECOND, Heartbeat::comment());
    assert!(body.frame().await.is_some(), "a heartbeat");
    flag.store(true, Ordering::Relaxed);
    let end = timeout(SECOND * 2, body.frame()).await;
    assert!(end.expect("it waits for what nobody will say").is_none());
    assert!(body.is_end_stream() && body.frame().await.is_none());
    assert_eq!(Arc::strong_count(&flag), 1, "the inner body is gone");
}
