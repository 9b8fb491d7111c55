//! Ready-made futures that abort a handle.

use std::{
    future::{pending, ready},
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, advance, sleep, timeout};

use super::*;
use crate::abort::{AbortKind, ask_every, deadline};

const SECOND: Duration = Duration::from_secs(1);

type Answer = io::Result<Option<&'static str>>;

/// Keeps the seconds at which it was asked.
#[derive(Clone)]
struct Asked(Instant, Arc<Mutex<Vec<f64>>>);

impl Asked {
    fn new() -> Self {
        Self(Instant::now(), Arc::default())
    }

    /// Takes note, and tells the number of the question, from 0.
    fn note(&self) -> usize {
        let mut asked = self.1.lock().unwrap();
        asked.push(self.0.elapsed().as_secs_f64());
        asked.len() - 1
    }

    fn at(&self) -> Vec<f64> {
        self.1.lock().unwrap().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_aborts_at_its_moment_and_not_before() {
    let (handle, start) = (AbortHandle::new(), Instant::now());
    handle.abort_when(deadline(start + 600 * SECOND));
    sleep(600 * SECOND - Duration::from_millis(1)).await;
    assert!(!handle.is_aborted());
    assert_eq!(handle.aborted().await, AbortKind::Deadline.into());
    assert_eq!(start.elapsed(), 600 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_has_passed_aborts_at_once() {
    let (handle, start) = (AbortHandle::new(), Instant::now());
    handle.abort_when(deadline(start - SECOND));
    assert_eq!(handle.aborted().await.text(), "deadline");
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_first_question_comes_at_once_so_that_an_earlier_stop_is_not_missed() {
    let (handle, start) = (AbortHandle::new(), Instant::now());
    handle.abort_when(ask_every(SECOND, || ready(Answer::Ok(Some("written before")))));
    assert_eq!(handle.aborted().await.text(), "written before");
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn questions_follow_at_the_interval_until_one_has_a_reason() {
    let (handle, asked) = (AbortHandle::new(), Asked::new());
    handle.abort_when(ask_every(2 * SECOND, {
        let asked = asked.clone();
        move || ready(Answer::Ok((asked.note() == 3).then_some("stop")))
    }));
    assert_eq!(handle.aborted().await.text(), "stop");
    sleep(100 * SECOND).await;
    assert_eq!(asked.at(), [0., 2., 4., 6.]);
}

#[tokio::test(start_paused = true)]
async fn errors_and_panics_in_the_call_and_in_the_future_do_not_break_it() {
    let (handle, asked) = (AbortHandle::new(), Asked::new());
    handle.abort_when(ask_every(SECOND, {
        let asked = asked.clone();
        move || {
            let number = asked.note();
            assert_ne!(number, 1, "in the call");
            async move {
                assert_ne!(number, 2, "in the future");
                match number {
                    0 => Err(io::Error::other("refused")),
                    3 => Ok(None),
                    _ => Ok(Some("stop")),
                }
            }
        }
    }));
    let aborted = timeout(60 * SECOND, handle.aborted()).await;
    assert_eq!(aborted.expect("it asks no more").text(), "stop");
    assert_eq!(asked.at(), [0., 1., 2., 3., 4.]);
}

#[tokio::test(start_paused = true)]
async fn there_is_one_question_at_a_time_and_a_slow_one_is_followed_by_one_at_once() {
    let (asked, open) = (Asked::new(), AtomicUsize::new(0));
    let reason = ask_every(SECOND, || async {
        let number = asked.note();
        assert_eq!(open.fetch_add(1, Ordering::SeqCst), 0);
        sleep(if number == 1 { 5 * SECOND / 2 } else { Duration::ZERO }).await;
        open.fetch_sub(1, Ordering::SeqCst);
        Answer::Ok((number == 4).then_some("stop"))
    });
    assert_eq!(reason.await.text(), "stop");
    // The second takes until 3.5 s: no burst makes up for what was missed.
    assert_eq!(asked.at(), [0., 1., 3.5, 4.5, 5.5]);
}

#[tokio::test(start_paused = true)]
async fn after_a_jump_of_the_clock_there_is_one_question() {
    let (handle, asked) = (AbortHandle::new(), Asked::new());
    handle.abort_when(ask_every(SECOND, {
        let asked = asked.clone();
        move || {
            asked.note();
            ready(Answer::Ok(None))
        }
    }));
    for _ in 0..3 {
        sleep(SECOND / 10).await;
        advance(1_000 * SECOND).await;
    }
    sleep(SECOND / 10).await;
    assert_eq!(asked.at().len(), 4, "{:?}", asked.at());
}

#[tokio::test(start_paused = true)]
async fn an_interval_of_nothing_is_a_millisecond_and_one_of_for_ever_asks_once() {
    for (interval, questions) in [(Duration::ZERO, 10..=11), (Duration::MAX, 1..=1)] {
        let (handle, asked) = (AbortHandle::new(), Asked::new());
        handle.abort_when(ask_every(interval, {
            let asked = asked.clone();
            move || {
                asked.note();
                ready(Answer::Ok(None))
            }
        }));
        sleep(SECOND / 100).await;
        drop(handle);
        assert!(questions.contains(&asked.at().len()), "{interval:?}: {:?}", asked.at());
    }
}

#[tokio::test(start_paused = true)]
async fn the_question_ends_when_the_last_clone_of_the_handle_goes_or_it_is_aborted() {
    let ends: [fn(AbortHandle); 2] = [drop, |handle| assert!(handle.abort("stop"))];
    for end in ends {
        for in_question in [false, true] {
            let (handle, alive) = (AbortHandle::new(), Arc::new(()));
            let held = alive.clone();
            handle.abort_when(ask_every(SECOND, move || {
                let held = held.clone();
                async move {
                    let _held = held;
                    if in_question {
                        pending::<()>().await;
                    }
                    Answer::Ok(None)
                }
            }));
            handle.abort_when(deadline(Instant::now() + 900 * SECOND));
            sleep(5 * SECOND / 2).await;
            let clone = handle.clone();
            drop(handle);
            sleep(SECOND).await;
            assert_eq!(Arc::strong_count(&alive), 2 + usize::from(in_question));
            end(clone);
            tokio::task::yield_now().await;
            assert_eq!(Arc::strong_count(&alive), 1);
        }
    }
}

#[cfg(feature = "tracing")]
#[tokio::test(start_paused = true)]
async fn errors_and_panics_are_warnings() {
    let capture = log::Capture::default();
    let _guard = tracing::subscriber::set_default(capture.clone());
    let mut number = 0;
    let reason = ask_every(SECOND, || {
        number += 1;
        let number = number;
        async move {
            assert_ne!(number, 2, "boom");
            if number == 1 { Err("refused") } else { Ok((number == 4).then_some("stop")) }
        }
    });
    assert_eq!(reason.await.text(), "stop");
    let lines = capture.0.lock().unwrap();
    assert_eq!(lines[0], "WARN could not ask whether to abort, error: refused");
    let panicked = "WARN could not ask whether to abort, error: the check panicked: assertion";
    assert!(lines[1].starts_with(panicked) && lines[1].contains("boom"), "{lines:?}");
    assert_eq!(lines.len(), 2, "an answer is no news");
}

#[cfg(feature = "tracing")]
mod log {
    use std::{
        fmt::{Debug, Write},
        sync::{Arc, Mutex},
    };

    use tracing::{
        Event, Metadata, Subscriber,
        field::{Field, Visit},
        span::{Attributes, Id, Record},
    };

    /// Keeps the events of one thread as lines.
    #[derive(Clone, Default)]
    pub(super) struct Capture(pub(super) Arc<Mutex<Vec<String>>>);

    struct Line(String);

    impl Visit for Line {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            match field.name() {
                "message" => write!(self.0, " {value:?}").unwrap(),
                name => write!(self.0, ", {name}: {value:?}").unwrap(),
            }
        }
    }

    impl Subscriber for Capture {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "tower_lifeline::abort"
        }

        fn event(&self, event: &Event<'_>) {
            let mut line = Line(event.metadata().level().to_string());
            event.record(&mut line);
            self.0.lock().unwrap().push(line.0);
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }
}
