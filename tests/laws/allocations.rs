//! Law 9: no allocation per frame in steady state.

use allocation_counter::measure;
use testkit::{Script, Wakes};
use tokio::runtime::Builder;
use tower_lifeline::tee::Limit;

use crate::{
    probe::Probe,
    reading::poll,
    subjects::{Outer, PLAIN, SSE, Subject, all, reply},
};

/// Polls that come before the steady state: first timers, first pieces held back, a recording that fills up.
const WARM_UP: usize = 500;
const POLLS: usize = 5000;

/// Frames that were made before.
const FRAMES: [(&str, &str, &[&str]); 4] = [
    ("bytes", PLAIN, &["0123456789"]),
    ("events", SSE, &["data: 1\n\n"]),
    ("pieces of events", SSE, &["data", ": 1\n", "\ndata: 2", "\n\n"]),
    ("records", "application/x-ndjson", &["{}\n", "{\"a\"", ":1}\n{", "}\n"]),
];

fn script(frames: &[&'static str]) -> Script {
    let frames = frames.iter().cycle().take(WARM_UP + POLLS);
    frames.fold(Script::new(), |script, frame| script.data(*frame).pending())
}

async fn subject_body(subject: &Subject, media: &str, script: Script) -> Outer {
    subject.body(&Probe::recording_within(Limit::last(256)), reply(media, script)).await
}

/// Counts what the polls in the steady state allocate, on this thread.
fn allocations(mut body: Outer) -> u64 {
    let wakes = Wakes::new();
    for _ in 0..WARM_UP {
        poll(&mut body, &wakes);
    }
    measure(|| {
        for _ in 0..POLLS {
            poll(&mut body, &wakes);
        }
    })
    .count_total
}

#[test]
fn a_frame_costs_no_allocation() {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _within = runtime.enter();
    for (name, media, frames) in FRAMES {
        for subject in all() {
            let body = runtime.block_on(subject_body(subject, media, script(frames)));
            let allocations = allocations(body);
            // The log of the script doubles its memory now and then.
            assert!(allocations <= 5, "{subject}, {name}: {allocations} in {POLLS} polls");
        }
    }
}
