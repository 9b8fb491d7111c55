//! Law 6: what is dropped outside is dropped inside, at once.

use std::{pin::Pin, time::Duration};

use testkit::{Script, Wakes};
use tokio::time::{Instant, advance, sleep, timeout};

use crate::{
    calling::{call, hanging, poll_call},
    probe::Probe,
    reading::{next, poll},
    subjects::{DRAIN, PLAIN, SSE, all, isolated, layers, reply},
};

#[tokio::test(start_paused = true)]
async fn the_future_of_the_service_is_dropped_with_the_response_future() {
    for subject in layers() {
        for polls in 0..2 {
            let probe = Probe::new();
            let mut future = call(subject, &probe, hanging(&probe.log));
            assert!((0..polls).all(|_| poll_call(&mut future).is_pending()), "{subject}");
            assert_eq!(probe.log.dropped_at(), None, "{subject}");
            drop(future);
            assert_eq!(probe.log.dropped_at(), Some(Instant::now()), "{subject}");
        }
    }
}

const SCRIPTS: [fn() -> Script; 5] = [
    || Script::new().stall(),
    || Script::new().data("data: 1\n\ndata: 2").stall(),
    || Script::new().sleep(Duration::from_secs(3600)).data("x"),
    || Script::new().data("data: 1\n\n").pending().pending().data("data: 2\n\n"),
    || Script::new().data("x").exact_size(1).stall(),
];

#[tokio::test(start_paused = true)]
async fn the_inner_body_is_dropped_with_the_outer_in_every_state() {
    let minute = Duration::from_secs(60);
    for subject in all().filter(|subject| subject.releases_at_once()) {
        for (media, script) in [PLAIN, SSE].iter().flat_map(|media| SCRIPTS.map(|s| (media, s))) {
            for polls in 0..3 {
                let probe = Probe::new();
                let mut body = subject.body(&probe, reply(media, script())).await;
                for _ in 0..polls {
                    let _ = poll(&mut body, &Wakes::new());
                    advance(minute).await;
                }
                let name = format!("{subject} {media} after {polls} polls");
                assert_eq!(probe.log.dropped_at(), None, "{name}");
                drop(body);
                assert_eq!(probe.log.dropped_at(), Some(Instant::now()), "{name}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_inner_body_that_is_read_on_is_dropped_within_its_limit_and_at_once_if_nobody_began() {
    for subject in all().filter(|subject| !subject.releases_at_once()) {
        for (media, script) in [PLAIN, SSE].iter().flat_map(|media| SCRIPTS.map(|s| (media, s))) {
            for polls in 0..3 {
                let probe = Probe::new();
                let mut body = subject.body(&probe, reply(media, script())).await;
                for _ in 0..polls {
                    let _ = poll(&mut body, &Wakes::new());
                    advance(Duration::from_secs(1)).await;
                }
                let name = format!("{subject} {media} after {polls} polls");
                assert_eq!(probe.log.dropped_at(), None, "{name}");
                let left = Instant::now();
                drop(body);
                assert!(polls > 0 || probe.log.dropped_at() == Some(left), "{name}");
                sleep(2 * DRAIN).await;
                let dropped = probe.log.dropped_at().unwrap_or_else(|| panic!("{name}: never"));
                let rounding = Duration::from_millis(1);
                assert!(dropped - left <= DRAIN + rounding, "{name}: {:?}", dropped - left);
            }
        }
    }
}

// On a thread of its own, so in real time.
#[tokio::test]
async fn the_inner_body_of_what_reads_on_a_thread_of_its_own_is_dropped_there_when_its_reader_leaves()
 {
    for subject in isolated() {
        for frames in 0..3 {
            let probe = Probe::new();
            let script = Script::new().data("data: 1\n\n").data("data: 2\n\n").stall();
            let mut body = subject.body(&probe, reply(SSE, script)).await;
            for _ in 0..frames {
                next(Pin::new(&mut body)).await;
            }
            let waits = async {
                while frames == 2 && probe.log.polls() < 3 {
                    sleep(Duration::from_millis(1)).await;
                }
            };
            timeout(Duration::from_secs(5), waits).await.unwrap();
            drop(body);
            probe.log.dropped_within(Duration::from_secs(5)).await;
        }
    }
}
