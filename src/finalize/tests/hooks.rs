//! Hooks that see more than the end, hooks that panic, and the tracker that counts them.

use std::{
    error::Error,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use http::response;
use testkit::{Log, drain};
use tokio::time::timeout;

use super::{
    super::{FinalizeTracker, Finalizer},
    *,
};

/// Writes down its calls, and panics at one of them.
struct Spy {
    log: Log,
    panics: &'static str,
}

impl Spy {
    fn told(&self, call: &str, what: impl std::fmt::Display) {
        self.log.note(format!("{call} {what}"));
        assert_ne!(self.panics, call, "the hook panics");
    }
}

impl Finalizer for Spy {
    fn on_response(&mut self, head: &response::Parts) {
        self.told("response", head.status.as_u16());
    }

    fn on_error(&mut self, error: &(dyn Error + 'static)) {
        assert!(error.is::<ScriptError>(), "it can still be downcast");
        self.told("error", error);
    }

    fn on_end(self, ending: Ending) {
        self.told("end", ending.outcome);
    }
}

impl Drop for Spy {
    fn drop(&mut self) {
        assert!(
            self.panics == "nothing" || std::thread::panicking(),
            "the hook panics in its drop"
        );
    }
}

fn spying<M>(
    log: &Log,
    panics: &'static str,
) -> FinalizeLayer<impl Fn(&Parts) -> Spy + Clone + use<M>, M> {
    let log = log.clone();
    FinalizeLayer::with(move |_: &Parts| Spy { log: log.clone(), panics })
}

fn story(log: &Log) -> Vec<String> {
    let text = |event| if let testkit::Event::Note(text) = event { Some(text) } else { None };
    log.story().into_iter().filter_map(text).collect()
}

#[tokio::test]
async fn a_finalizer_sees_the_head_then_the_error_itself_then_the_end() {
    let log = Log::new();
    let layer = spying(&log, "nothing");
    drain(through(&layer, get(), Response::new(Script::new().data("x").error("boom"))).await).await;
    assert_eq!(story(&log), ["response 200", "error boom", "end failed"]);

    let log = Log::new();
    let service = spying(&log, "nothing").layer(service_fn(|_: Request<()>| async {
        Err::<Response<Script>, _>(ScriptError::new("refused"))
    }));
    assert!(service.oneshot(get()).await.is_err());
    assert_eq!(story(&log), ["error refused", "end failed"]);
}

#[tokio::test]
async fn a_hook_that_panics_is_counted_once_and_harms_nothing_else() {
    let expect = [
        ("response", vec!["response 200"]),
        ("error", vec!["response 200", "error boom"]),
        ("end", vec!["response 200", "error boom", "end failed"]),
    ];
    for (call, told) in expect {
        let log = Log::new();
        let layer = spying(&log, call);
        let script = Script::new().data("x").error("boom");
        let seen = drain(through(&layer, get(), Response::new(script)).await).await;
        assert_eq!((&seen.data[..], seen.error.unwrap().to_string()), (&b"x"[..], "boom".into()));
        assert_eq!(story(&log), told, "{call}");
        assert_eq!((layer.tracker().hook_panics(), layer.tracker().live()), (1, 0), "{call}");
    }
}

/// truths.md 5: a panic that leaves a drop during unwinding would abort the process.
#[tokio::test]
async fn a_hook_that_panics_while_the_thread_unwinds_is_contained_and_counted() {
    let log = Log::new();
    let layer = spying(&log, "end");
    let body = through(&layer, get(), Response::new(Script::new().data("x"))).await;
    let panic = catch_unwind(AssertUnwindSafe(move || {
        let _body = body;
        panic!("the task");
    }));
    assert_eq!(panic.unwrap_err().downcast_ref::<&str>(), Some(&"the task"));
    assert_eq!((story(&log).len(), layer.tracker().hook_panics()), (2, 1));
}

#[tokio::test]
async fn the_tracker_counts_an_exchange_from_its_call_to_its_end() {
    let (layer, _told) = telling();
    let tracker = layer.tracker();
    assert_eq!(tracker.live(), 0);
    let first = through(&layer, get(), Response::new(Script::new().data("x"))).await;
    let second = through(&layer.clone(), get(), Response::new(Script::new().data("x"))).await;
    assert_eq!(tracker.live(), 2);
    drop(first);
    assert_eq!(tracker.live(), 1);
    drain(second).await;
    assert_eq!((tracker.live(), tracker.hook_panics()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn drained_waits_until_every_exchange_has_ended() {
    async fn waits(tracker: &FinalizeTracker) -> bool {
        timeout(Duration::from_secs(3_600), tracker.drained()).await.is_err()
    }
    let (layer, _told) = telling();
    let tracker = layer.tracker();
    assert!(!waits(&tracker).await, "there is nothing to wait for");
    let first = through(&layer, get(), Response::new(Script::new().data("x"))).await;
    let second = through(&layer, get(), Response::new(Script::new().data("x"))).await;
    let drained = tokio::spawn({
        let tracker = tracker.clone();
        async move { tracker.drained().await }
    });
    drop(first);
    assert!(waits(&tracker).await);
    assert!(!drained.is_finished());
    drop(second);
    timeout(Duration::from_secs(1), drained).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_ending_was_told_before_drained_returns() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let layer = FinalizeLayer::new({
        let log = log.clone();
        move |_: &Parts| {
            let log = log.clone();
            move |ending: Ending| log.lock().unwrap().push(ending.outcome.as_str())
        }
    });
    let body = through(&layer, get(), Response::new(Script::new().data("x"))).await;
    let tracker = layer.tracker();
    let reader = std::thread::spawn(move || drop(body));
    tracker.drained().await;
    assert_eq!(*log.lock().unwrap(), ["discarded"]);
    reader.join().unwrap();
}

#[tokio::test]
async fn layers_and_reporters_can_be_printed_whatever_their_hooks() {
    let (layer, _told) = telling();
    assert!(format!("{layer:?}").starts_with("FinalizeLayer { tracker: FinalizeTracker("));
    let body = through(&layer, get(), Response::new(Script::new())).await;
    assert!(format!("{body:?}").contains("Reporter { exchange: Exchange"));
}
