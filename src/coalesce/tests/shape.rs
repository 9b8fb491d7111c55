use http_body::{Body as _, SizeHint};
use testkit::Eos;

use super::*;

/// The hints before each frame, and before the end.
fn hints(script: Script) -> Vec<(u64, Option<u64>, bool)> {
    let mut body = gathers(script);
    let mut hints = Vec::new();
    loop {
        let hint = body.size_hint();
        hints.push((hint.lower(), hint.upper(), body.is_end_stream()));
        if !matches!(poll(&mut body), std::task::Poll::Ready(Some(Ok(_)))) {
            return hints;
        }
    }
}

fn large() -> String {
    "x".repeat(LIMIT)
}

#[test]
fn an_exact_size_stays_exact() {
    let script = Script::new().data("a").data("b").data(large()).data("c").exact_size(103);
    let exact = |left, over| (left, Some(left), over);
    assert_eq!(
        hints(script),
        [exact(103, false), exact(101, false), exact(1, false), exact(0, true)]
    );
}

#[test]
fn a_frame_that_is_held_is_counted_to_what_is_hinted_of_the_rest() {
    let mut hint = SizeHint::new();
    hint.set_lower(50);
    hint.set_upper(200);
    let script = Script::new().data("a").data(large()).hint(hint);
    // What the body says of its rest is 0 to 99 then, and it has been 50 to 200.
    assert_eq!(
        hints(script),
        [(50, Some(200), false), (100, Some(199), false), (0, Some(99), true)]
    );
}

#[test]
fn nothing_is_known_of_a_size_that_nobody_told() {
    let script = Script::new().data("a").data(large()).data("b");
    assert_eq!(
        hints(script),
        [(0, None, false), (100, None, false), (0, None, false), (0, Some(0), true)]
    );
}

#[test]
fn the_end_of_stream_is_told_when_it_was_read_even_if_the_body_does_not_know() {
    assert_eq!(hints(Script::new().data("a").eos(Eos::Never)).last(), Some(&(0, Some(0), true)));
    assert!(gathers(Script::new()).is_end_stream());
}

#[test]
fn behind_the_data_trailers_and_errors_still_wait() {
    for end in [
        Script::new().data("a").error("boom"),
        Script::new().data("a").trailers([].into_iter().collect()),
    ] {
        let mut body = gathers(end);
        assert!(poll(&mut body).is_ready());
        assert!(!body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(0));
        assert!(poll(&mut body).is_ready());
        assert!(body.is_end_stream());
    }
}

#[test]
fn it_can_be_shared_as_its_inner_body_can() {
    fn is_sync<T: Send + Sync>() {}
    is_sync::<CoalesceBody<http_body_util::Full<Bytes>>>();
}
