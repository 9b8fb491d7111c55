use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{Event, Log};

const DROPPED: Event = Event::Dropped { panicking: false };

#[tokio::test(start_paused = true)]
async fn clones_write_into_one_log_in_order_and_with_times() {
    let log = Log::new();
    let start = Instant::now();
    log.note("first");
    sleep(Duration::from_secs(3)).await;
    log.clone().push(Event::Poll);

    let expected =
        [(start, Event::Note("first".into())), (start + Duration::from_secs(3), Event::Poll)];
    assert_eq!(log.events(), expected);
    assert_eq!(log.story(), [Event::Note("first".into()), Event::Poll]);
    assert_eq!((log.polls(), log.count(|event| *event == Event::End)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn dropped_waits_for_a_drop_to_come() {
    let log = Log::new();
    let start = Instant::now();
    assert!(timeout(Duration::from_secs(1), log.dropped()).await.is_err());

    let other = log.clone();
    tokio::spawn(async move {
        other.note("noise");
        sleep(Duration::from_secs(1)).await;
        other.push(DROPPED);
    });
    assert_eq!(log.dropped_within(Duration::from_secs(9)).await, start + Duration::from_secs(2));
}

#[tokio::test]
async fn dropped_knows_a_drop_of_the_past() {
    let log = Log::new();
    assert_eq!(log.dropped_at(), None);
    log.push(DROPPED);
    assert_eq!(Some(log.dropped().await), log.dropped_at());
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "it ends with [Poll]")]
async fn a_drop_that_does_not_come_in_time_fails_the_test_with_the_story() {
    let log = Log::new();
    log.push(Event::Poll);
    log.dropped_within(Duration::from_secs(1)).await;
}
