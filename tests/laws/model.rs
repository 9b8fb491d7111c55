//! What must be true of a course: a second opinion, made of what the body did (by its log) and what the client saw.

use bytes::Bytes;
use testkit::{Event, ScriptError};
use tower_lifeline::{
    abort::Aborted,
    exchange::{DrainEnd, Outcome},
    final_frame::BodyPanicked,
};

use crate::{
    machine::{Run, Terminal},
    plan::{Finish, NDJSON},
    reading::trailers,
    subjects::{PLAIN, Part},
};

/// What somebody who watches sees of a body.
struct View {
    polled: bool,
    bytes: usize,
    /// It came to its end: `None`, trailers, or a last frame that was flagged as such.
    clean: bool,
}

/// A stream that was read on.
struct Drained {
    /// Frames and bytes until the client left.
    before: (u64, u64),
    end: DrainEnd,
    /// How the body itself ended.
    body: Outcome,
}

impl Run<'_> {
    fn logged(&self, event: &Event) -> bool {
        self.probe.log.count(|logged| logged == event) > 0
    }

    /// The data frames that the inner body gave.
    fn given(&self) -> Vec<&'static str> {
        let given = self.probe.log.count(|event| matches!(event, Event::Data(_)));
        self.case.plan.data().take(given).collect()
    }

    /// What is seen next to the inner body.
    fn inner(&self) -> View {
        let given = self.given();
        let clean = self.logged(&Event::End)
            || self.logged(&Event::Trailers)
            || self.case.plan.flagged_after(given.len());
        View { polled: self.probe.log.polls() > 0, bytes: given.concat().len(), clean }
    }

    /// What is seen next to the client.
    fn outer(&self) -> View {
        let terminal = matches!(self.seen.terminal, Some(Terminal::End | Terminal::Trailers(_)));
        let bytes = self.seen.frames.iter().map(Bytes::len).sum();
        View { polled: self.seen.polled, bytes, clean: terminal || self.seen.flagged }
    }

    /// What came in place of the response.
    fn answered(&self) -> bool {
        self.seen.status.is_some_and(|status| status == 503)
    }

    /// What was read on after the client had left: how the drain and the body ended, and what the client had been given.
    fn drained(&self) -> Option<Drained> {
        let (subject, plan) = (self.case.subject, &self.case.plan);
        let left = self.left.as_ref().filter(|_| subject.has(Part::Detach))?;
        let frames = left.iter().filter(|event| matches!(event, Event::Data(_))).count();
        let before: usize = plan.data().take(frames).map(str::len).sum();
        let announced = plan.announced(subject.sees_heads());
        let ended = |event: &Event| {
            matches!(event, Event::End | Event::Trailers | Event::Error | Event::Panic)
        };
        let over = left.iter().any(ended)
            || plan.flagged_after(frames)
            || announced.is_some_and(|length| before >= length);
        if self.seen.aborted.is_some() || over || !left.contains(&Event::Poll) {
            return None;
        }
        let inner = self.inner();
        let short = announced.is_some_and(|length| inner.bytes < length);
        let all_there = announced.is_some_and(|length| inner.bytes >= length);
        let (end, body) = if self.logged(&Event::Panic) {
            (DrainEnd::Failed, Outcome::Panicked)
        } else if self.logged(&Event::Error) {
            (DrainEnd::Failed, Outcome::Failed)
        } else if inner.clean && short {
            (DrainEnd::Failed, Outcome::Truncated)
        } else if inner.clean || all_there {
            (DrainEnd::Completed, Outcome::Completed)
        } else {
            (DrainEnd::Limit, Outcome::Disconnected)
        };
        Some(Drained { before: (frames as u64, before as u64), end, body })
    }

    fn text(&self) -> Vec<u8> {
        self.seen.frames.concat()
    }
}

/// What `abort` must say now. `None` where that depends on what layers inside of Abort hold back.
pub(crate) fn abort_succeeds(run: &Run<'_>) -> Option<bool> {
    let subject = run.case.subject;
    let layer = subject.sees_heads() && !run.is_uncalled();
    let bound = subject.has(Part::Abort) && (layer || run.seen.status.is_some());
    if !bound {
        return Some(run.is_unaborted());
    }
    if subject.has_around(Part::Abort, Part::FinalFrame) {
        return None;
    }
    // A layer outside of Abort asked for the flag at the head, and was told that nothing follows.
    let told = run.case.plan.flagged_at_once()
        && run.seen.status.is_some()
        && !subject.is_outermost(Part::Abort);
    let over = told
        || run.is_over()
        || run.inner().clean
        || run.logged(&Event::Error)
        || run.logged(&Event::Panic);
    Some(run.is_unaborted() && !over)
}

/// What came out is what went in.
pub(crate) fn assert_bytes(run: &Run<'_>) {
    let (subject, plan, given) = (run.case.subject, &run.case.plan, run.given());
    if subject.has(Part::Tee) {
        let outermost = subject.has_around(Part::Tee, Part::FinalFrame);
        let taken = if outermost { run.text() } else { given.concat().into_bytes() };
        assert_eq!(run.probe.recording.to_bytes(), taken, "the recording");
    }
    if run.answered() {
        return;
    }
    let (frames, final_frame) = without_ours(run);
    let all = given.concat();
    assert!(all.starts_with(&frames.concat()), "{frames:?} of {given:?}");
    if !subject.gathers() && (plan.media == PLAIN || subject.keeps_frames()) {
        assert_eq!(frames, given[..frames.len()]);
    }
    let unclean =
        run.seen.aborted.is_some() || matches!(plan.finish, Finish::Error | Finish::Panic);
    assert!(!final_frame || unclean, "a final frame");
    match &run.seen.terminal {
        Some(Terminal::End) if final_frame => {}
        Some(Terminal::End) => {
            assert_eq!(plan.finish, Finish::End);
            assert_eq!((frames.concat(), run.seen.aborted.is_none()), (whole(run), true));
        }
        Some(Terminal::Trailers(seen)) => {
            assert_eq!((plan.finish, seen), (Finish::Trailers, &trailers()));
            assert_eq!((frames.concat(), run.seen.aborted.is_none()), (whole(run), true));
        }
        Some(Terminal::Error(error)) => match (&run.seen.aborted, plan.finish) {
            (Some(reason), _) => {
                assert_eq!(error.downcast_ref::<Aborted>().unwrap().reason().text(), reason);
            }
            // Too late to be the cause, but it did cut the error that FinalFrame, inside of Abort, was holding.
            (None, _) if error.is::<Aborted>() => {
                assert!(subject.has_around(Part::Abort, Part::FinalFrame) && !run.is_unaborted());
                assert!(run.logged(&Event::Error) || run.logged(&Event::Panic));
            }
            (None, Finish::Error) => {
                assert_eq!(error.downcast_ref::<ScriptError>().unwrap().to_string(), "boom");
                assert!(subject.has(Part::FinalFrame) || frames.concat() == all, "bytes are lost");
            }
            (None, _) => assert!(error.is::<BodyPanicked>(), "{error}"),
        },
        Some(Terminal::Panic) => assert_eq!(plan.finish, Finish::Panic),
        None => {}
    }
}

/// The upstream's frames, and whether a final one followed. What is ours stands between events.
fn without_ours<'a>(run: &'a Run<'_>) -> (Vec<&'a str>, bool) {
    let (subject, media) = (run.case.subject, run.case.plan.media);
    let heartbeat = if media == NDJSON { " " } else { ": keep-alive\n" };
    let (mut frames, mut final_frame) = (Vec::new(), false);
    for frame in run.seen.frames.iter().map(str_of) {
        assert!(!final_frame, "{frame:?} behind the final frame");
        final_frame = subject.has(Part::FinalFrame)
            && (frame.starts_with("event: error\n") || frame.starts_with("{\"type\":\"error\""));
        if final_frame || (subject.has(Part::IdleKeepalive) && frame == heartbeat) {
            let before: String = frames.concat();
            assert!(is_between_events(&before, media), "{frame:?} behind {before:?}");
        } else {
            frames.push(frame);
        }
    }
    (frames, final_frame)
}

/// Whether a reader of these bytes holds no part of an event or record.
fn is_between_events(bytes: &str, media: &str) -> bool {
    let lines = bytes.replace("\r\n", "\n").replace('\r', "\n");
    let block = if media == NDJSON { &lines } else { lines.rsplit("\n\n").next().unwrap_or("") };
    let comments = block.lines().all(|line| line.is_empty() || line.starts_with(':'));
    (block.is_empty() || block.ends_with('\n')) && (media == NDJSON || comments)
}

fn str_of(frame: &Bytes) -> &str {
    std::str::from_utf8(frame).unwrap()
}

fn whole(run: &Run<'_>) -> String {
    run.case.plan.data().collect()
}

/// Whoever reports the end does it once, and says what happened.
pub(crate) fn assert_ending(run: &Run<'_>) {
    let subject = run.case.subject;
    let unheard = if subject.sees_heads() {
        run.case.abort_before_the_call && subject.has_around(Part::Abort, Part::Finalize)
    } else {
        run.seen.status.is_none()
    };
    if unheard {
        assert_eq!(run.probe.outcomes(), []);
        return;
    }
    if let Some(drained) = run.drained() {
        return assert_drained(run, &drained);
    }
    let expected = outcomes(run);
    let outcome = run.probe.outcomes().first().map_or(expected[0], |(_, outcome)| *outcome);
    assert!(expected.contains(&outcome), "{outcome}, not one of {expected:?}");
    run.probe.assert_ended(subject, outcome);
    for ending in run.probe.endings() {
        assert_eq!(ending.drained, None);
        assert_eq!(outcome == Outcome::Aborted, run.seen.aborted.is_some(), "abort() lied");
        if let Some(reason) = &run.seen.aborted {
            assert_eq!(ending.reason(), Some(reason.as_str()));
        }
        if !subject.has_around(Part::Finalize, Part::FinalFrame) {
            let given = run.given();
            let taken = (ending.frames, ending.bytes);
            assert_eq!(taken, (given.len() as u64, given.concat().len() as u64));
        }
    }
}

/// Finalize says that the client left and what was read since then; Tee, which has it all, how the body ended.
fn assert_drained(run: &Run<'_>, drained: &Drained) {
    let subject = run.case.subject;
    let told = [(Part::Finalize, Outcome::Disconnected), (Part::Tee, drained.body)];
    let expected: Vec<_> = told.into_iter().filter(|(part, _)| subject.has(*part)).collect();
    assert_eq!(run.probe.outcomes(), expected);
    for ending in run.probe.endings() {
        let told = ending.drained.unwrap();
        let all = run.given().concat().len() as u64;
        assert_eq!((ending.frames, ending.bytes), drained.before);
        assert_eq!((told.end, told.bytes), (drained.end, all - drained.before.1));
    }
}

/// The outcome; two of them where it depends on what layers inside of Finalize hold back.
fn outcomes(run: &Run<'_>) -> Vec<Outcome> {
    let (subject, seen, plan) = (run.case.subject, &run.seen, &run.case.plan);
    if seen.aborted.is_some() {
        return vec![Outcome::Aborted];
    }
    if seen.service_failed {
        return vec![Outcome::Failed];
    }
    if seen.service_panicked || run.logged(&Event::Panic) {
        return vec![Outcome::Panicked];
    }
    if seen.status.is_none() {
        return vec![Outcome::Disconnected];
    }
    let whole = subject.has_around(Part::Finalize, Part::FinalFrame);
    let view = if whole { run.outer() } else { run.inner() };
    if run.logged(&Event::Error) {
        let told = !whole || view.clean || seen.terminal.is_some();
        let unsaid = if told { vec![] } else { vec![Outcome::Disconnected] };
        return [vec![Outcome::Failed], unsaid].concat();
    }
    let announced = plan.announced(subject.sees_heads());
    let nothing_follows = plan.flagged_at_once() || announced == Some(0);
    let short = announced.is_some_and(|length| view.bytes < length) && !nothing_follows;
    let all_there = nothing_follows || announced.is_some_and(|length| view.bytes >= length);
    vec![match (view.clean, view.polled) {
        (true, _) if short => Outcome::Truncated,
        (true, _) => Outcome::Completed,
        (false, _) if all_there => Outcome::Completed,
        (false, true) => Outcome::Disconnected,
        (false, false) => Outcome::Discarded,
    }]
}
