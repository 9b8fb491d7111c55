//! Plays random courses on every subject, and keeps what the client saw.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body::Body;
use proptest::test_runner::{Config, TestRunner};
use testkit::{Event, Script};
use tokio::{
    runtime::Builder,
    task::yield_now,
    time::{advance, sleep},
};
use tower::Service;
use tower_lifeline::error::BoxError;

use crate::{
    model,
    plan::{Action, Case, case},
    probe::Probe,
    quiet::hush_scripted_panics,
    subjects::{Call, DRAIN, Outer, Part},
};

/// How it ended for the client.
#[derive(Debug)]
pub(crate) enum Terminal {
    End,
    Trailers(HeaderMap),
    Error(BoxError),
    Panic,
}

/// What the client saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) status: Option<StatusCode>,
    pub(crate) service_failed: bool,
    pub(crate) service_panicked: bool,
    /// The body was polled.
    pub(crate) polled: bool,
    pub(crate) frames: Vec<Bytes>,
    /// The flag was set when a data frame had come.
    pub(crate) flagged: bool,
    pub(crate) terminal: Option<Terminal>,
    /// The reason of the abort that was told that it is what ends the exchange.
    pub(crate) aborted: Option<String>,
}

enum Stage {
    Uncalled,
    Calling(Call),
    Reading(Outer),
    Over,
}

/// One course under way.
pub(crate) struct Run<'a> {
    pub(crate) case: &'a Case,
    pub(crate) probe: Probe,
    pub(crate) seen: Seen,
    stage: Stage,
    aborts: usize,
    /// What the inner body had done when the client left it in the stream.
    pub(crate) left: Option<Vec<Event>>,
}

impl Run<'_> {
    /// The request is not there yet.
    pub(crate) fn is_uncalled(&self) -> bool {
        matches!(self.stage, Stage::Uncalled)
    }

    /// Nothing may come any more.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// Nobody has tried to abort yet.
    pub(crate) fn is_unaborted(&self) -> bool {
        self.aborts == 0
    }

    fn poll(&mut self) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Calling(call) => self.poll_call(call),
            Stage::Reading(body) => self.poll_body(body),
            stage @ (Stage::Uncalled | Stage::Over) => stage,
        }
    }

    fn poll_call(&mut self, mut call: Call) -> Stage {
        let mut cx = Context::from_waker(Waker::noop());
        match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut call).poll(&mut cx))) {
            Ok(Poll::Pending) => return Stage::Calling(call),
            Ok(Poll::Ready(Ok(response))) => {
                self.seen.status = Some(response.status());
                return Stage::Reading(response.into_body());
            }
            Ok(Poll::Ready(Err(_))) => self.seen.service_failed = true,
            Err(_) => self.seen.service_panicked = true,
        }
        Stage::Over
    }

    fn poll_body(&mut self, mut body: Outer) -> Stage {
        let flagged = body.is_end_stream();
        self.seen.polled = true;
        let terminal = match poll_once(&mut body) {
            Ok(Poll::Pending) => {
                assert!(!flagged, "pending behind the end of the stream");
                return Stage::Reading(body);
            }
            Ok(Poll::Ready(None)) => Terminal::End,
            Ok(Poll::Ready(Some(Err(error)))) => Terminal::Error(error),
            Ok(Poll::Ready(Some(Ok(frame)))) => match frame.into_data() {
                Ok(data) => {
                    assert!(!flagged, "data behind the end of the stream");
                    self.seen.frames.push(data);
                    self.seen.flagged |= body.is_end_stream();
                    return Stage::Reading(body);
                }
                Err(frame) => Terminal::Trailers(frame.into_trailers().unwrap()),
            },
            Err(_) => Terminal::Panic,
        };
        assert!(!flagged || matches!(terminal, Terminal::End), "{terminal:?} behind the end");
        if !matches!(terminal, Terminal::Panic) {
            for _ in 0..2 {
                assert!(matches!(poll_once(&mut body), Ok(Poll::Ready(None))), "not fused");
            }
            assert!(self.probe.log.dropped_at().is_some(), "the inner body is still there");
        }
        self.seen.terminal = Some(terminal);
        Stage::Over
    }

    fn abort(&mut self) {
        let reason = format!("abort {}", self.aborts);
        let expected = model::abort_succeeds(self);
        let succeeded = self.probe.handle.abort(reason.clone());
        assert!(expected.is_none_or(|expected| expected == succeeded), "abort() gave {succeeded}");
        self.aborts += 1;
        if succeeded && self.case.subject.has(Part::Abort) {
            self.seen.aborted = Some(reason);
        }
    }

    fn leave(&mut self) {
        if let Stage::Reading(_) = self.stage {
            self.left = Some(self.probe.log.story());
        }
        self.stage = Stage::Over;
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::Poll => self.poll(),
            Action::Abort => self.abort(),
            Action::Sleep(seconds) => advance(Duration::from_secs(seconds)).await,
            Action::Yield => yield_now().await,
        }
    }
}

type Polled = Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>>;

fn poll_once(body: &mut Outer) -> std::thread::Result<Polled> {
    let mut cx = Context::from_waker(Waker::noop());
    catch_unwind(AssertUnwindSafe(|| Pin::new(body).poll_frame(&mut cx)))
}

async fn play(case: &Case) {
    let probe = Probe::new();
    let mut service = case.subject.around(case.plan.upstream(&probe), &probe);
    let stage = Stage::Uncalled;
    let mut run =
        Run { case, probe: probe.clone(), seen: Seen::default(), stage, aborts: 0, left: None };
    if case.abort_before_the_call {
        run.abort();
    }
    run.stage = Stage::Calling(service.call(Request::new(Script::new())));
    drop(service);
    for action in &case.actions {
        run.act(*action).await;
    }
    for _ in 0..if case.reads_on { 100 } else { 0 } {
        run.act(Action::Poll).await;
        run.act(Action::Sleep(1)).await;
    }
    // The client leaves, if it is still there; what was cut is dropped by a task, and what was left is read by one.
    run.leave();
    sleep(DRAIN + Duration::from_secs(1)).await;

    let log = &run.probe.log;
    assert!(log.dropped_at().is_some(), "the inner body is still there");
    assert_eq!(log.count(|event| *event == Event::PollAfterEnd), 0);
    model::assert_bytes(&run);
    model::assert_ending(&run);
}

#[test]
fn whatever_happens_the_bytes_are_true_and_the_end_is_reported_once_and_rightly() {
    hush_scripted_panics();
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    // More of them with PROPTEST_CASES.
    let mut config = Config { failure_persistence: None, ..Config::default() };
    config.cases = config.cases.max(8000);
    let mut runner = TestRunner::new(config);
    let played = runner.run(&case(), |case| {
        runtime.block_on(play(&case));
        Ok(())
    });
    played.unwrap_or_else(|failure| panic!("{failure}"));
}
