use std::{future::poll_fn, time::Duration};

use testkit::{Collected, ScriptError, drain};
use tokio::{
    task::yield_now,
    time::{Instant, advance},
};

use super::*;
use crate::coalesce::body::FRAMES;

fn script<'a>(frames: impl IntoIterator<Item = &'a str>) -> Script {
    frames.into_iter().fold(Script::new(), |script, frame| script.data(frame.to_owned()))
}

async fn read(script: Script) -> Collected<ScriptError> {
    drain(gathers(script)).await
}

fn is_same(one: &Bytes, other: &Bytes) -> bool {
    (one.as_ptr(), one.len()) == (other.as_ptr(), other.len())
}

#[tokio::test]
async fn frames_that_wait_come_as_one() {
    assert_eq!(
        read(script(["data: 1\n\n", "da", "ta: 2\n\n"])).await.frames,
        ["data: 1\n\ndata: 2\n\n"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_comes_alone_is_handed_on_at_its_time_and_not_copied() {
    let (second, start) = (Duration::from_secs(1), Instant::now());
    let frames = [Bytes::from("one".to_owned()), Bytes::from("two".to_owned())];
    let script =
        frames.iter().fold(Script::new(), |script, frame| script.sleep(second).data(frame.clone()));
    let mut body = gathers(script.stall());
    for (seconds, frame) in (1..).zip(&frames) {
        assert!(is_same(&next(&mut body).await, frame));
        assert_eq!(start.elapsed(), seconds * second);
    }
    assert!(poll(&mut body).is_pending());
}

#[tokio::test]
async fn a_frame_is_not_kept_waiting_for_those_that_may_follow() {
    let mut body = gathers(Script::new().data("a").data("b").pending().data("c").stall());
    assert_eq!(next(&mut body).await, "ab");
    assert_eq!(next(&mut body).await, "c");
}

#[tokio::test]
async fn no_frame_made_of_several_is_larger_than_the_limit_and_none_is_cut() {
    let (a, b, c) = ("a".repeat(40), "b".repeat(60), "c".repeat(61));
    let frames = [&*a, &b, &a, &c, &a, &b];
    let expected = [[&*a, &b].concat(), a.clone(), [&*c].concat(), [&*a, &b].concat()];
    assert_eq!(read(script(frames)).await.frames, expected);
}

#[tokio::test]
async fn at_the_limit_no_more_is_asked_for() {
    let script = script(["x"; 2 * LIMIT]);
    let log = script.log();
    let mut body = CoalesceBody::new(script, 10);
    for frames in 1..=5 {
        assert_eq!(next(&mut body).await.len(), 10);
        assert_eq!(log.polls(), 10 * frames);
    }
}

#[tokio::test]
async fn a_frame_that_is_large_enough_is_not_copied_and_nothing_is_put_to_it() {
    for size in [LIMIT, LIMIT + 1, 1 << 20] {
        let large = Bytes::from(vec![b'x'; size]);
        let script = script(["a", "b"]).data(large.clone()).data("c").data(large.clone());
        let mut body = gathers(script);
        assert_eq!(next(&mut body).await, "ab");
        assert!(is_same(&next(&mut body).await, &large));
        assert_eq!(next(&mut body).await, "c");
        assert!(is_same(&next(&mut body).await, &large));
    }
}

#[tokio::test]
async fn an_empty_frame_adds_nothing_and_is_handed_on_if_it_is_the_only_one() {
    assert_eq!(read(script(["", "a", "", "", "b", ""])).await.frames, ["ab"]);
    assert_eq!(read(script(["", ""])).await.frames, [""]);
    let mut alone = gathers(Script::new().data("").pending().data("a").pending().data(""));
    assert_eq!(
        [next(&mut alone).await, next(&mut alone).await, next(&mut alone).await],
        ["", "a", ""]
    );
    // Of what is one frame and empty ones there is nothing to join.
    let one = Bytes::from("one".to_owned());
    assert!(is_same(&read(script(["", ""]).data(one.clone()).data("")).await.frames[0], &one));
}

#[tokio::test]
async fn a_limit_of_nothing_gathers_nothing() {
    let frames = ["", "a", "b", "", "c"];
    assert_eq!(drain(CoalesceBody::new(script(frames), 0)).await.frames, frames);
}

#[tokio::test]
async fn what_is_made_of_several_frames_takes_no_more_memory_than_they_did() {
    let joined = read(script(["one", "two", "three"])).await.frames.remove(0);
    assert_eq!(joined.try_into_mut().unwrap().capacity(), 11);
}

/// Outside of a task there is no budget.
#[test]
fn so_many_frames_are_gathered_and_no_more() {
    for chunk in ["", "x"] {
        let script = Script::new().endless(chunk);
        let log = script.log();
        let mut body = CoalesceBody::new(script, usize::MAX);
        for polls in 1..=3 {
            assert!(poll(&mut body).is_ready());
            assert_eq!(log.polls(), polls * FRAMES);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_gathered_frame_costs_a_piece_of_the_budget_of_its_task() {
    let script = Script::new().endless("x");
    let log = script.log();
    let reader = tokio::spawn(async move {
        let mut body = CoalesceBody::new(script, 1000);
        let mut body = Pin::new(&mut body);
        while poll_fn(|cx| http_body::Body::poll_frame(body.as_mut(), cx)).await.is_some() {}
    });
    for turns in 1..=3 {
        yield_now().await;
        // What tokio gives to a task in one turn.
        assert_eq!(log.polls(), turns * 128);
    }
    advance(Duration::from_secs(1)).await;
    reader.abort();
}

#[tokio::test]
async fn when_the_budget_is_spent_what_was_gathered_is_not_lost() {
    let text: String = (0..1000).map(|n| format!("{n}\n")).collect();
    let script = script(text.split_inclusive('\n'));
    let read = tokio::spawn(drain(CoalesceBody::new(script, 50))).await.unwrap();
    assert_eq!(read.data, text);
    assert!(read.frames.iter().all(|frame| frame.len() <= 50));
}
