//! Law 6: what is dropped outside is dropped inside, at once.

use std::time::Duration;

use testkit::{Script, Wakes};
use tokio::time::{Instant, advance};

use crate::{
    calling::{call, hanging, poll_call},
    probe::Probe,
    reading::poll,
    subjects::{PLAIN, SSE, all, layers, reply},
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

#[tokio::test(start_paused = true)]
async fn the_inner_body_is_dropped_with_the_outer_in_every_state() {
    let minute = Duration::from_secs(60);
    let scripts: [fn() -> Script; 5] = [
        || Script::new().stall(),
        || Script::new().data("data: 1\n\ndata: 2").stall(),
        || Script::new().sleep(Duration::from_secs(3600)).data("x"),
        || Script::new().data("data: 1\n\n").data("data: 2\n\n"),
        || Script::new().data("x").exact_size(1).stall(),
    ];
    for subject in all() {
        for (media, script) in [PLAIN, SSE].iter().flat_map(|media| scripts.map(|s| (media, s))) {
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
