//! Law 2: the hints never lie, and after a terminal result there is nothing but `None`.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use http::{Response, header};
use http_body::{Body, SizeHint};
use testkit::{Eos, Event, Script, Wakes};

use crate::{
    probe::Probe,
    reading::{Item, Seen, data, observe, poll, trailers},
    subjects::{PLAIN, Part, SSE, all, reply},
};

type Make = fn() -> Response<Script>;

fn with_length(length: usize, script: Script) -> Response<Script> {
    let mut response = reply(SSE, script);
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    response
}

fn at_least(lower: u64) -> SizeHint {
    let mut hint = SizeHint::new();
    hint.set_lower(lower);
    hint
}

fn at_most(upper: u64) -> SizeHint {
    let mut hint = SizeHint::new();
    hint.set_upper(upper);
    hint
}

/// Bodies whose size is known to all: nothing may be put into them.
const SIZED: [(&str, Make); 5] = [
    ("exact", || {
        reply(SSE, Script::new().data("data: 1\n\n").pending().data("dat").exact_size(12))
    }),
    ("exact and trailers", || {
        reply(PLAIN, Script::new().data("ab").trailers(trailers()).exact_size(2))
    }),
    ("exact and Content-Length", || with_length(3, Script::new().data("abc").exact_size(3))),
    ("exact and no flag", || reply(PLAIN, Script::new().data("a").exact_size(1).eos(Eos::Never))),
    ("empty", || reply(SSE, Script::new().exact_size(0))),
];

/// Bodies that heartbeats and final frames fit into.
const UNSIZED: [(&str, Make); 9] = [
    ("unknown", || reply(PLAIN, Script::new().data("ab").pending().data("c"))),
    ("bounds", || reply(PLAIN, Script::new().data("ab").data("c").hint(at_least(3)))),
    ("upper bound", || reply(SSE, Script::new().data("data: 1\n\n").hint(at_most(20)))),
    ("ends in an event", || reply(SSE, Script::new().data("data: 1\n\ndata: 2"))),
    ("ends with a CR", || reply(SSE, Script::new().data("data: 1\r\n\r").eos(Eos::Never))),
    ("a pause", || {
        let minute = Duration::from_secs(60);
        reply(
            SSE,
            Script::new().data("data: 1\n\nd").sleep(minute).data("ata: 2\n\n").sleep(minute),
        )
    }),
    ("error", || reply(SSE, Script::new().data("data: 1\n\nda").error("boom"))),
    ("error of bytes", || reply(PLAIN, Script::new().data("a").error("boom").hint(at_most(7)))),
    ("trailers in an event", || reply(SSE, Script::new().data("id: 1\n").trailers(trailers()))),
];

fn all_bodies() -> impl Iterator<Item = (&'static str, Make)> {
    SIZED.into_iter().chain(UNSIZED)
}

fn length(item: &Item) -> u64 {
    if let Item::Data(data) = item { data.len() as u64 } else { 0 }
}

#[tokio::test(start_paused = true)]
async fn the_size_hint_is_true_before_every_frame() {
    for subject in all() {
        for (name, response) in all_bodies() {
            let seen = observe(subject.body(&Probe::new(), response()).await).await;
            let failed = matches!(seen.last(), Some(Seen { item: Item::Error(_), .. }));
            let mut left: u64 = seen.iter().map(|seen| length(&seen.item)).sum();
            for now in &seen {
                let upper = now.upper.unwrap_or(u64::MAX);
                assert!(left <= upper, "{subject}, {name}: {left} come, {now:?}");
                // A body that fails does not keep its word.
                assert!(failed || left >= now.lower, "{subject}, {name}: {left} come, {now:?}");
                left -= length(&now.item);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn behind_a_true_end_of_stream_comes_nothing_but_the_end() {
    for subject in all() {
        for (name, response) in all_bodies() {
            let seen = observe(subject.body(&Probe::new(), response()).await).await;
            let flagged = seen.iter().skip_while(|seen| !seen.end_of_stream);
            for after in flagged {
                assert_eq!(after.item, Item::End, "{subject}, {name}: {seen:?}");
                assert!(after.end_of_stream, "{subject}, {name}: {seen:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_adds_nothing_gives_the_hints_of_the_bare_body() {
    // What gathers reads on behind a frame, so that it knows of the end sooner.
    for subject in all().filter(|subject| !subject.gathers()) {
        for (name, response) in SIZED.into_iter().filter(|_| subject.keeps_sizes()) {
            let seen = observe(subject.body(&Probe::new(), response()).await).await;
            assert_eq!(seen, observe(response().into_body()).await, "{subject}, {name}");
        }
        // FirstFrame knows of the bytes that it has read: its lower bound is higher.
        let same = subject.keeps_frames() && subject.reads_on_demand();
        for (name, response) in UNSIZED.into_iter().filter(|_| same) {
            let seen = observe(subject.body(&Probe::new(), response()).await).await;
            assert_eq!(seen, observe(response().into_body()).await, "{subject}, {name}");
        }
    }
}

/// A last frame that the body itself flags as the last is flagged as the last by the layer.
#[tokio::test(start_paused = true)]
async fn the_end_of_stream_flag_of_the_inner_body_is_kept() {
    for subject in all() {
        for media in [PLAIN, SSE] {
            let script = Script::new().data("data: 1\n\n").data("data: 2\n\n");
            let seen = observe(subject.body(&Probe::new(), reply(media, script)).await).await;
            let flags: Vec<_> = seen.iter().map(|seen| seen.end_of_stream).collect();
            let expected =
                if subject.gathers() { &[false, true][..] } else { &[false, false, true] };
            assert_eq!(flags, expected, "{subject} {media}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_none_trailers_or_an_error_there_is_only_none_and_the_inner_body_is_gone() {
    let ends: [fn() -> Script; 3] = [
        || Script::new().data("data: 1\n\n").end(),
        || Script::new().data("data: 1\n\n").trailers(trailers()),
        || Script::new().data("data: 1\n\n").error("boom"),
    ];
    for subject in all() {
        for (media, script) in [PLAIN, SSE].iter().flat_map(|media| ends.map(|end| (media, end))) {
            let (probe, wakes) = (Probe::new(), Wakes::new());
            let late = script().eos(Eos::Never).data("late").error("late").trailers(trailers());
            let mut body = subject.body(&probe, reply(media, late)).await;
            let mut seen = Vec::new();
            for _ in 0..8 {
                seen.extend(poll(&mut body, &wakes));
                // An error may linger.
                tokio::time::advance(Duration::from_millis(5)).await;
            }
            let terminals: Vec<_> = seen.iter().filter(|item| item.is_terminal()).collect();
            let name = format!("{subject} {media}: {seen:?}");
            assert_eq!(seen[0], data("data: 1\n\n"), "{name}");
            assert!(terminals[1..].iter().all(|item| **item == Item::End), "{name}");
            assert!(seen[1..].iter().all(|item| *item != data("late")), "{name}");
            assert_eq!(probe.log.count(|event| *event == Event::PollAfterEnd), 0, "{name}");
            assert!(probe.log.dropped_at().is_some(), "{name}");
            assert!(body.size_hint().exact().is_none_or(|size| size == 0), "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_panic_there_is_only_none_and_the_inner_body_is_gone() {
    for subject in all().filter(|subject| subject.minds_panics()) {
        let (probe, wakes) = (Probe::new(), Wakes::new());
        let script = Script::new().data("data: 1\n\n").panic("ouch").data("late");
        let mut body = subject.body(&probe, reply(SSE, script)).await;
        assert_eq!(poll(&mut body, &wakes), Some(data("data: 1\n\n")), "{subject}");
        let caught = catch_unwind(AssertUnwindSafe(|| poll(&mut body, &wakes)));
        assert_eq!(caught.is_err(), !subject.has(Part::FinalFrame), "{subject}");
        assert!(probe.log.dropped_at().is_some(), "{subject}");
        for _ in 0..3 {
            assert_eq!(poll(&mut body, &wakes), Some(Item::End), "{subject}");
        }
    }
}
