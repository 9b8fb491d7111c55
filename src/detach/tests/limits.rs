//! How much is read at most.

use testkit::{Eos, Event, Gate};

use super::*;

#[tokio::test(start_paused = true)]
async fn a_drain_ends_when_its_time_is_over() {
    let layer = DetachLayer::new(DrainLimits::new().time(5 * SECOND));
    let mut stream = open(&layer, Script::new().data("ab").sleep(SECOND).data("c").stall()).await;
    stream.read().await;
    let (left, start) = (stream.leave(), Instant::now());
    let log = left.log.clone();
    assert_eq!(left.drained().await, (1, DrainEnd::Limit));
    assert_eq!(start.elapsed(), 5 * SECOND);
    assert!(log.dropped_at().is_some());
}

#[tokio::test(start_paused = true)]
async fn the_time_is_kept_though_the_body_is_always_ready() {
    let layer = DetachLayer::new(DrainLimits::new().time(Duration::ZERO).bytes(u64::MAX));
    let mut stream = open(&layer, Script::new().endless("x")).await;
    stream.read().await;
    assert_eq!(stream.leave().drained().await.1, DrainEnd::Limit);
}

#[tokio::test]
async fn a_drain_ends_with_the_frame_that_is_more_than_its_bytes() {
    let layer = DetachLayer::new(DrainLimits::new().bytes(4));
    let script = Script::new().data("ab").data("cd").data("ef").data("gh").data("ij");
    let mut stream = open(&layer, script).await;
    stream.read().await;
    let left = stream.leave();
    let log = left.log.clone();
    assert_eq!(left.drained().await, (6, DrainEnd::Limit));
    assert_eq!(log.count(|event| *event == Event::Data(2)), 4);
}

#[tokio::test]
async fn as_many_bytes_as_allowed_are_not_too_many() {
    let layer = DetachLayer::new(DrainLimits::new().bytes(4));
    let script = Script::new().data("ab").data("cd").data("ef").eos(Eos::Never);
    let mut stream = open(&layer, script).await;
    stream.read().await;
    assert_eq!(stream.leave().drained().await, (4, DrainEnd::Completed));
}

#[tokio::test]
async fn beyond_the_number_a_stream_is_dropped_at_once_and_clones_share_the_number() {
    let layer = DetachLayer::new(DrainLimits::new().streams(1));
    let gate = Gate::new();
    let script = || Script::new().data("ab").wait(&gate).data("c");
    let mut first = open(&layer.clone(), script()).await;
    let mut second = open(&layer.clone().when(|_| |_| true), script()).await;
    first.read().await;
    second.read().await;
    let (first, second) = (first.leave(), second.leave());
    assert!(second.log.dropped_at().is_some(), "at once");
    assert!(!second.exchange.abort("too late"));
    assert_eq!(second.drained().await, (0, DrainEnd::Limit));

    gate.open();
    assert_eq!(first.drained().await, (1, DrainEnd::Completed));
    tokio::task::yield_now().await;
    let mut third = open(&layer, Script::new().data("ab").data("c")).await;
    third.read().await;
    assert_eq!(third.leave().drained().await, (1, DrainEnd::Completed), "the place was given back");
}

#[tokio::test]
async fn streams_whose_client_stays_take_no_place() {
    let layer = DetachLayer::new(DrainLimits::new().streams(1));
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(open(&layer, Script::new().data("ab").data("c")).await);
    }
    for stream in &mut streams {
        stream.read().await;
    }
    assert_eq!(layer.drains.free.available_permits(), 1);
    let last = streams.pop().unwrap();
    assert_eq!(last.leave().drained().await, (1, DrainEnd::Completed));
}

#[tokio::test]
async fn no_number_at_all_drains_nothing_and_one_too_large_for_tokio_is_none() {
    let layer = DetachLayer::new(DrainLimits::default().streams(0));
    let mut stream = open(&layer, Script::new().data("ab").data("c")).await;
    stream.read().await;
    assert_eq!(stream.leave().drained().await, (0, DrainEnd::Limit));
    let _ = DetachLayer::new(DrainLimits::new().streams(usize::MAX));
}

/// As a timeouts layer between cuts.
#[tokio::test]
async fn a_time_limit_of_another_layer_holds_in_the_drain() {
    struct Nothing;
    impl crate::cut::Cut for Nothing {
        fn doom(&self) {}
        fn cut(&self) {}
    }
    let mut stream = open(&layer(), Script::new().data("ab").stall()).await;
    stream.read().await;
    let attached = stream.exchange.attach_apart(Arc::new(Nothing));
    let left = stream.leave();
    attached.knife().cut(&crate::timeouts::tests::hit(crate::timeouts::Limit::Idle));
    assert!(
        !left.handle.abort("late"),
        "it only ends the stall: nothing here was cut by the limit"
    );
    assert_eq!(left.drained().await, (0, DrainEnd::Limit));
}
