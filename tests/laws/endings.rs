//! Law 4: the end is reported exactly once, with the right outcome. Here: responses that end cleanly, and those that
//! nobody reads.

use std::pin::Pin;

use http::{Method, Request, Response, StatusCode, header};
use testkit::{Eos, Script, drain};
use tower_lifeline::exchange::Outcome;

use crate::{
    probe::Probe,
    reading::{Item, next, trailers},
    subjects::{Outer, PLAIN, Part, SSE, all, layers, reply},
};

/// How a server uses a response body.
enum Reader {
    /// Reads to the first terminal result, and holds the body still when it looks at the outcome.
    ToTheEnd,
    /// Drops it after so many frames, as hyper does at a length that is met.
    Frames(usize),
}

async fn read(mut body: Outer, reader: &Reader) -> Option<Outer> {
    match *reader {
        Reader::ToTheEnd => {
            while !next(Pin::new(&mut body)).await.is_terminal() {}
            return Some(body);
        }
        Reader::Frames(frames) => {
            for _ in 0..frames {
                let item = next(Pin::new(&mut body)).await;
                assert!(matches!(item, Item::Data(_)));
            }
        }
    }
    None
}

/// Everything that reports an end, with a body that is used without a head.
async fn reports(outcome: Outcome, reader: Reader, script: fn() -> Script) {
    for media in [PLAIN, SSE] {
        // Nobody drops a body at a size that was taken away, and IncludeUsage reports nothing.
        for subject in all().filter(|subject| subject.keeps_sizes()) {
            let probe = Probe::new();
            let body = subject.body(&probe, reply(media, script())).await;
            let held = read(body, &reader).await;
            probe.assert_ended(subject, outcome);
            drop(held);
            probe.assert_ended(subject, outcome);
        }
    }
}

/// Everything that reports an end and sees the head.
async fn reports_with_head(
    outcome: Outcome,
    reader: Reader,
    method: Method,
    response: fn() -> Response<Script>,
) {
    for subject in layers() {
        let probe = Probe::new();
        let request = Request::builder().method(method.clone()).body(Script::new()).unwrap();
        let body = subject.respond(&probe, request, response()).await.into_body();
        drop(read(body, &reader).await);
        probe.assert_ended(subject, outcome);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_gives_none_has_completed() {
    let script = || Script::new().data("data: 1\n\n").eos(Eos::Never);
    reports(Outcome::Completed, Reader::ToTheEnd, script).await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_gives_trailers_has_completed() {
    let script = || Script::new().data("data: 1\n\n").trailers(trailers());
    reports(Outcome::Completed, Reader::ToTheEnd, script).await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_flags_its_last_frame_has_completed_with_it() {
    let script = || Script::new().data("data: 1\n\n");
    reports(Outcome::Completed, Reader::Frames(1), script).await;
}

// truths.md 1: hyper drops it after the last byte, even if it would be pending for ever.
#[tokio::test(start_paused = true)]
async fn a_body_that_is_dropped_at_its_exact_size_has_completed() {
    let script = || Script::new().data("abc").pending().data("de").stall().exact_size(5);
    reports(Outcome::Completed, Reader::Frames(2), script).await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_dropped_at_its_content_length_has_completed() {
    reports_with_head(Outcome::Completed, Reader::Frames(2), Method::GET, || {
        let mut response = reply(SSE, Script::new().data("abc").pending().data("de").stall());
        response.headers_mut().insert(header::CONTENT_LENGTH, 5.into());
        response
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_body_of_size_0_that_nobody_reads_has_completed() {
    reports(Outcome::Completed, Reader::Frames(0), || Script::new().stall().exact_size(0)).await;
    reports(Outcome::Completed, Reader::Frames(0), Script::new).await;
}

#[tokio::test(start_paused = true)]
async fn a_response_that_has_no_body_has_completed_unread() {
    let endless = || Response::new(Script::new().endless("x"));
    reports_with_head(Outcome::Completed, Reader::Frames(0), Method::HEAD, endless).await;
    for status in [204, 304] {
        for subject in layers() {
            let (probe, mut response) = (Probe::new(), endless());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            drop(subject.body(&probe, response).await);
            probe.assert_ended(subject, Outcome::Completed);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_clean_end_before_the_exact_size_is_truncated() {
    let script = || Script::new().data("abc").exact_size(5).eos(Eos::Never);
    reports(Outcome::Truncated, Reader::ToTheEnd, script).await;
    let flagged = || Script::new().data("abc").exact_size(5);
    reports(Outcome::Truncated, Reader::Frames(1), flagged).await;
    let trailers = || Script::new().data("abc").trailers(trailers()).exact_size(5);
    reports(Outcome::Truncated, Reader::ToTheEnd, trailers).await;
}

#[tokio::test(start_paused = true)]
async fn a_clean_end_before_the_content_length_is_truncated() {
    reports_with_head(Outcome::Truncated, Reader::ToTheEnd, Method::GET, || {
        let mut response = reply(PLAIN, Script::new().data("abc"));
        response.headers_mut().insert(header::CONTENT_LENGTH, 5.into());
        response
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_response_that_nobody_begins_to_read_is_discarded() {
    reports(Outcome::Discarded, Reader::Frames(0), || Script::new().data("data: 1\n\n")).await;
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_has_completed_at_its_head() {
    for subject in layers() {
        for (method, status) in [("GET", 101), ("CONNECT", 200)] {
            let probe = Probe::new();
            let request = Request::builder().method(method).body(Script::new()).unwrap();
            let mut response = Response::new(Script::new().data("not http any more").stall());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            let response = subject.respond(&probe, request, response).await;
            probe.assert_ended(subject, Outcome::Completed);
            drop(response);
            probe.assert_ended(subject, Outcome::Completed);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_ending_says_what_was_taken_from_the_upstream() {
    for subject in all().filter(|subject| subject.has(Part::Finalize)) {
        let probe = Probe::new();
        let script = Script::new().data("data: 1\n\n").data("").data("x").trailers(trailers());
        let response = subject.respond(&probe, Request::new(Script::new()), reply(PLAIN, script));
        drain(response.await.into_body()).await;
        let ending = probe.endings().remove(0);
        assert_eq!((ending.bytes, ending.frames), (10, 3), "{subject}");
        assert_eq!(ending.trailers, Some(trailers()), "{subject}");
        assert_eq!(ending.grpc_status, Some(0), "{subject}");
        let head = ending.status.is_some() && ending.time_to_head.is_some();
        assert_eq!(head, subject.sees_heads(), "{subject}");
    }
}
