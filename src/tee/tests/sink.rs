//! What a sink is told, in which order, and what its panics do.

use bytes::Bytes;
use http::{HeaderMap, response::Parts};
use http_body::{Body, SizeHint};
use http_body_util::{BodyExt, Full};
use testkit::{Eos, Log, Script, Wakes, drain, poll_body};

use super::super::{Sink, TeeBody};
use crate::exchange::Outcome;

/// Writes down what it is told, and panics at one of the calls.
#[derive(Clone, Debug, Default)]
pub(super) struct Spy {
    pub(super) log: Log,
    panics: Option<&'static str>,
}

impl Spy {
    fn panicking(call: &'static str) -> Self {
        Self { log: Log::new(), panics: Some(call) }
    }

    fn told(&self, call: &str, what: impl std::fmt::Display) {
        self.log.note(format!("{call}{what}"));
        assert_ne!(self.panics, Some(call), "the sink panics");
    }

    pub(super) fn story(&self) -> Vec<String> {
        let text = |event| if let testkit::Event::Note(text) = event { Some(text) } else { None };
        self.log.story().into_iter().filter_map(text).collect()
    }
}

impl Sink for Spy {
    fn head(&mut self, head: &Parts) {
        self.told("head ", head.status.as_u16());
    }

    fn data(&mut self, data: Bytes) {
        self.told("data ", String::from_utf8_lossy(&data));
    }

    fn trailers(&mut self, trailers: &HeaderMap) {
        self.told("trailers ", trailers.len());
    }

    fn end(self, outcome: Outcome) {
        self.told("end ", outcome);
    }
}

impl Drop for Spy {
    fn drop(&mut self) {
        if self.panics == Some("drop") {
            self.panics = None;
            panic!("the sink panics in its drop");
        }
    }
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([("x-a".parse().unwrap(), "1".parse().unwrap())])
}

#[tokio::test]
async fn a_sink_is_told_of_frames_trailers_and_the_end_in_order_before_the_reader_has_them() {
    let spy = Spy::default();
    let script = Script::new().data("one").data("").data("two").trailers(trailers());
    let mut body = TeeBody::new(script, spy.clone());
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
    assert_eq!(spy.story(), ["data one"]);
    let seen = drain(&mut body).await;
    assert_eq!((seen.frames, seen.trailers), (vec![Bytes::new(), "two".into()], Some(trailers())));
    assert_eq!(spy.story(), ["data one", "data ", "data two", "trailers 1", "end completed"]);
    drop(body);
    assert_eq!(spy.story().len(), 5, "the end is told once");
}

#[tokio::test]
async fn the_bytes_of_a_sink_are_the_readers_own() {
    struct Keep(Vec<Bytes>, tokio::sync::mpsc::UnboundedSender<Vec<Bytes>>);
    impl Sink for Keep {
        fn data(&mut self, data: Bytes) {
            self.0.push(data);
        }
        fn end(self, _: Outcome) {
            self.1.send(self.0).unwrap();
        }
    }
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let big = Bytes::from(vec![7; 64 << 20]); // faults.md 42: nobody copies 64 MiB.
    let seen = drain(TeeBody::new(Full::new(big.clone()), Keep(Vec::new(), tell))).await;
    let kept = told.recv().await.unwrap();
    assert_eq!(kept[0].as_ptr(), big.as_ptr());
    assert_eq!(seen.frames[0].len(), big.len());
}

#[tokio::test]
async fn each_end_has_its_outcome() {
    let completed = Script::new().data("x");
    let truncated = Script::new().data("x").exact_size(5);
    let failed = Script::new().data("x").error("boom");
    for (script, outcome) in
        [(completed, "completed"), (truncated, "truncated"), (failed, "failed")]
    {
        let spy = Spy::default();
        drain(TeeBody::new(script, spy.clone())).await;
        assert_eq!(spy.story(), ["data x".to_owned(), format!("end {outcome}")]);
    }
    let spy = Spy::default();
    drop(TeeBody::new(Script::new().data("x"), spy.clone()));
    assert_eq!(spy.story(), ["end discarded"], "nobody read");
    let spy = Spy::default();
    let mut body = TeeBody::new(Script::new().data("x").stall(), spy.clone());
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(spy.story(), ["data x", "end disconnected"], "the client left");
}

#[tokio::test]
async fn a_panic_of_the_body_goes_on_to_the_reader_and_is_told() {
    let spy = Spy::default();
    let body = TeeBody::new(Script::new().data("x").panic("boom"), spy.clone());
    let panic = tokio::spawn(drain(body)).await.unwrap_err();
    assert_eq!(panic.into_panic().downcast_ref::<String>().unwrap(), "boom");
    assert_eq!(spy.story(), ["data x", "end panicked"]);
}

#[tokio::test]
async fn a_sink_that_panics_is_dropped_and_the_reader_notices_nothing() {
    for (call, told) in
        [("data ", "data one"), ("trailers ", "trailers 1"), ("end ", "end completed")]
    {
        let spy = Spy::panicking(call);
        let log = spy.log.clone();
        let script = Script::new().data("one").data("two").trailers(trailers());
        let seen = drain(TeeBody::new(script, spy)).await;
        assert_eq!((&seen.data[..], seen.trailers), (&b"onetwo"[..], Some(trailers())), "{call}");
        let story = Spy { log, panics: None }.story();
        assert_eq!(story.last().unwrap(), told, "{call}: nothing is told to it after its panic");
    }
}

#[tokio::test]
async fn a_sink_that_panics_once_more_in_its_drop_harms_nothing_either() {
    struct Twice {
        _spy: Spy,
    }
    impl Sink for Twice {
        fn data(&mut self, _: Bytes) {
            panic!("the sink panics");
        }
    }
    let seen =
        drain(TeeBody::new(Script::new().data("x"), Twice { _spy: Spy::panicking("drop") })).await;
    assert_eq!(&seen.data[..], b"x");
}

#[tokio::test]
async fn methods_that_a_sink_does_not_care_for_do_nothing() {
    struct Silent;
    impl Sink for Silent {
        fn data(&mut self, _: Bytes) {}
    }
    let seen = drain(TeeBody::new(Script::new().data("x").trailers(trailers()), Silent)).await;
    assert_eq!(seen.trailers, Some(trailers()));
}

#[test]
fn size_end_and_error_are_left_alone() {
    let mut hint = SizeHint::new();
    hint.set_lower(1);
    hint.set_upper(9);
    let script = Script::new().data("x").error("boom").hint(hint).eos(Eos::Never);
    let mut body = TeeBody::new(script, Spy::default());
    assert_eq!((body.size_hint().lower(), body.size_hint().upper()), (1, Some(9)));
    let waker = Wakes::new().waker();
    let mut poll = || poll_body(std::pin::Pin::new(&mut body), &waker);
    assert!(matches!(poll(), std::task::Poll::Ready(Some(Ok(_)))));
    let std::task::Poll::Ready(Some(Err(error))) = poll() else { panic!("no error") };
    let error: testkit::ScriptError = error; // Its own type, not boxed.
    assert_eq!(error.to_string(), "boom");
    assert!(TeeBody::new(Script::new(), Spy::default()).is_end_stream());
}
