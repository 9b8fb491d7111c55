//! What is read after the client left, and how that ends.

use testkit::{Eos, Event, Gate};
use tokio::runtime::Builder;

use super::*;

#[tokio::test(start_paused = true)]
async fn after_the_client_left_the_rest_is_read_and_recorded_to_its_end() {
    let script = Script::new().data("one ").sleep(SECOND).data("two ").sleep(SECOND).data("three");
    let mut stream = open(&layer(), script.eos(Eos::Never)).await;
    assert_eq!(stream.read().await, "one ");
    let (mut left, start) = (stream.leave(), Instant::now());
    assert!(left.exchange.progress().is_draining());
    let ending = left.ending().await;
    assert_eq!(start.elapsed(), 2 * SECOND);
    assert_eq!((ending.outcome, ending.bytes, ending.frames), (Outcome::Disconnected, 4, 1));
    assert_eq!(ending.drained, Some(Drained { bytes: 9, end: DrainEnd::Completed }));
    let recording = ending.exchange.fact::<Recording>().unwrap();
    assert_eq!(recording.to_bytes(), "one two three");
    assert_eq!(recording.outcome(), Some(Outcome::Completed), "the body ended as it should");
    assert_eq!(left.log.count(|event| *event == Event::PollAfterEnd), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waited_in_vain_for_its_first_frame_has_left_a_drain_as_well() {
    let mut stream = open(&layer(), Script::new().sleep(SECOND).data("late")).await;
    let waiting = tokio::time::timeout(SECOND / 2, stream.read());
    waiting.await.unwrap_err();
    assert_eq!(stream.leave().drained().await, (4, DrainEnd::Completed));
}

#[tokio::test]
async fn trailers_in_the_drain_are_its_end_and_are_told() {
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
    let script = Script::new().data("x").data("y").trailers(trailers.clone()).stall();
    let mut stream = open(&layer(), script).await;
    stream.read().await;
    let ending = stream.leave().ending().await;
    assert_eq!(ending.drained, Some(Drained { bytes: 1, end: DrainEnd::Completed }));
    assert_eq!((ending.trailers, ending.grpc_status), (Some(trailers), Some(0)));
}

/// As hyper does, which polls no more: what stalls behind its end must not keep a drain busy.
#[tokio::test(start_paused = true)]
async fn the_announced_length_and_the_end_of_stream_flag_end_a_drain() {
    let by_length = || Script::new().data("ab").data("cd").stall();
    let by_header = Response::builder().header("content-length", "4").body(by_length()).unwrap();
    let by_hint = Response::new(by_length().exact_size(4));
    let by_flag = Response::new(Script::new().data("ab").data("cd").end().stall());
    for response in [by_header, by_hint, by_flag] {
        let mut stream = open_with(&layer(), Request::new(()), response).await;
        stream.read().await;
        let (start, log) = (Instant::now(), stream.log.clone());
        assert_eq!(stream.leave().drained().await, (2, DrainEnd::Completed));
        assert_eq!((start.elapsed(), log.polls()), (Duration::ZERO, 2));
    }
}

#[tokio::test]
async fn an_upstream_that_fails_or_breaks_off_in_the_drain_failed() {
    let failing = Script::new().data("ab").data("c").error("boom");
    let short = Script::new().data("ab").data("c").eos(Eos::Never).exact_size(9);
    for script in [failing, short] {
        let mut stream = open(&layer(), script).await;
        stream.read().await;
        assert_eq!(stream.leave().drained().await, (1, DrainEnd::Failed));
    }
}

#[tokio::test]
async fn a_panic_in_the_drain_failed_and_gives_its_place_back() {
    let layer = DetachLayer::new(DrainLimits::new().streams(1));
    let mut stream = open(&layer, Script::new().data("ab").data("c").panic("boom")).await;
    stream.read().await;
    let left = stream.leave();
    let log = left.log.clone();
    assert_eq!(left.drained().await, (1, DrainEnd::Failed));
    assert_eq!(log.count(|event| matches!(event, Event::Dropped { .. })), 1);
    log.dropped().await;
    while layer.drains.free.available_permits() < 1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_abort_in_the_drain_works_and_says_so_and_the_client_still_left() {
    let mut stream = open(&layer(), Script::new().data("ab").data("c").stall()).await;
    stream.read().await;
    let left = stream.leave();
    left.log.first(|event| *event == Event::Data(1)).await;
    assert!(left.handle.abort("operator"));
    assert!(!left.handle.abort("again"));
    let log = left.log.clone();
    assert_eq!(left.drained().await, (1, DrainEnd::Aborted));
    assert!(log.dropped_at().is_some(), "before it is told");
}

#[tokio::test]
async fn an_abort_by_the_exchange_before_the_drain_has_begun_to_read_works_too() {
    let mut stream = open(&layer(), Script::new().data("ab").data("c").stall()).await;
    stream.read().await;
    let left = stream.leave();
    assert!(left.exchange.abort("operator"));
    assert_eq!(left.drained().await, (0, DrainEnd::Aborted));
}

/// truths.md 6.
#[test]
fn a_runtime_that_shuts_down_ends_a_drain_which_is_told_once() {
    for reading in [true, false] {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let left = runtime.block_on(async {
            let mut stream = open(&layer(), Script::new().data("ab").data("c").stall()).await;
            stream.read().await;
            let left = stream.leave();
            if reading {
                left.log.first(|event| *event == Event::Data(1)).await;
            }
            left
        });
        assert!(left.log.dropped_at().is_none());
        drop(runtime);
        assert!(left.log.dropped_at().is_some());
        let other = Builder::new_current_thread().build().unwrap();
        let bytes = u64::from(reading);
        assert_eq!(other.block_on(left.drained()), (bytes, DrainEnd::Aborted));
    }
}

#[test]
fn a_client_that_leaves_when_the_runtime_is_gone_leaves_an_aborted_drain() {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let stream = runtime.block_on(async {
        let mut stream = open(&layer(), Script::new().data("ab").data("c").stall()).await;
        stream.read().await;
        stream
    });
    drop(runtime);
    let left = stream.leave();
    let other = Builder::new_current_thread().build().unwrap();
    assert_eq!(other.block_on(left.drained()), (0, DrainEnd::Aborted));
}

#[tokio::test]
async fn a_body_that_is_always_ready_does_not_keep_other_tasks_from_running() {
    let layer = DetachLayer::new(DrainLimits::new().bytes(u64::MAX));
    let mut stream = open(&layer, Script::new().endless("x")).await;
    stream.read().await;
    let left = stream.leave();
    tokio::task::yield_now().await;
    assert!(left.handle.abort("enough"), "we run at all");
    assert_eq!(left.drained().await.1, DrainEnd::Aborted);
}

#[tokio::test]
async fn the_body_may_be_dropped_on_a_thread_that_knows_no_runtime() {
    let gate = Gate::new();
    let mut stream = open(&layer(), Script::new().data("ab").wait(&gate).data("c")).await;
    stream.read().await;
    let left = std::thread::spawn(|| stream.leave()).join().unwrap();
    gate.open();
    assert_eq!(left.drained().await, (1, DrainEnd::Completed));
}
