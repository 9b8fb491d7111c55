//! Each at its own pace.

use super::*;

#[tokio::test]
async fn one_that_does_not_read_holds_up_nobody_and_gets_it_all_later() {
    let script = Script::new().data("a").pending().data("b").pending().data("c");
    let service = joining().layer(upstream([text(script)]));
    let slow = Asked::of(&service, get()).body();
    let quick = Asked::of(&service, get()).body();
    assert_eq!(drain(quick).await.frames, ["a", "b", "c"]);
    assert_eq!(drain(slow).await.frames, ["a", "b", "c"]);
}

#[tokio::test]
async fn one_that_leaves_cuts_nobody_be_it_the_first_in_the_call_or_in_the_body() {
    let (gate, log) = (Gate::new(), Log::new());
    let script = Script::new().data("a").data("b").data("c").eos(Eos::Never).log_into(&log);
    let service = joining().layer(after(&gate, text(script)));
    let mut asked = [(); 4].map(|()| Asked::of(&service, get()));
    assert!(asked.iter_mut().all(|asked| asked.poll().is_pending()));
    let [first, mut second, mut third, mut fourth] = asked;
    drop(first);
    gate.open();
    let (mut second, mut third, mut fourth) = (second.body(), third.body(), fourth.body());
    assert_eq!(next(&mut second), is("a"));
    drop(second);
    assert_eq!((next(&mut third), next(&mut third)), (is("a"), is("b")));
    drop(third);
    assert_eq!(log.dropped_at(), None);
    for frame in ["a", "b", "c"] {
        assert_eq!(next(&mut fourth), is(frame));
    }
    assert_eq!(next(&mut fourth), OVER);
}

#[tokio::test]
async fn the_last_one_that_leaves_drops_what_runs_and_the_next_request_calls_again() {
    let logs = [Log::new(), Log::new()];
    let stalled = |log: &Log| text(Script::new().data("a").stall().log_into(log));
    let service = joining().layer(upstream(logs.each_ref().map(stalled)));
    for log in &logs {
        let mut bodies = [(); 3].map(|()| Asked::of(&service, get()).body());
        bodies.iter_mut().for_each(|body| assert_eq!(next(body), is("a")));
        let [first, second, third] = bodies;
        drop((first, third));
        assert_eq!(log.dropped_at(), None);
        drop(second);
        assert!(log.dropped_at().is_some(), "at once");
    }
}

#[tokio::test]
async fn what_runs_is_dropped_once_those_who_are_left_have_fallen_behind() {
    let log = Log::new();
    let script = (0..20).fold(Script::new(), |script, _| script.data([b'x'; 16].to_vec()));
    let service = joining().answer_limit(64);
    let service = service.layer(upstream([text(script.stall().log_into(&log))]));
    let mut quick = Asked::of(&service, get()).body();
    let _slow = Asked::of(&service, get()).body();
    for _ in 0..20 {
        assert!(next(&mut quick).is_ready());
    }
    assert_eq!(log.dropped_at(), None);
    drop(quick);
    assert!(log.dropped_at().is_some(), "nobody can read on");
}

/// A body that has so many frames at a time: one that is dropped wakes it.
struct Pooled(Pool);
struct Lent(Pool);
type Pool = Arc<Mutex<(usize, Option<Waker>)>>;

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &[b'x'; 16]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut pool = self.0.lock().unwrap();
        pool.0 += 1;
        let waker = pool.1.take();
        drop(pool);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl Body for Pooled {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        let mut pool = self.0.lock().unwrap();
        if pool.0 == 0 {
            pool.1 = Some(cx.waker().clone());
            return Poll::Pending;
        }
        pool.0 -= 1;
        let frame = Bytes::from_owner(Lent(self.0.clone()));
        Poll::Ready(Some(Ok(http_body::Frame::data(frame))))
    }
}

#[test]
fn a_frame_is_held_by_nobody_but_the_one_who_read_it_and_let_go_of_outside_of_every_lock() {
    let (done, is_done) = std::sync::mpsc::channel();
    // On a thread of its own, which may be stuck for ever.
    std::thread::spawn(move || {
        let pool = Pool::new(Mutex::new((2, None)));
        let lent = pool.clone();
        let service = service_fn(move |_: Request<ReplayRequest<Script>>| {
            // Nobody else has the frames: it is not kept.
            let response = Response::builder().status(500).body(Pooled(lent.clone()));
            ready(Ok::<_, Infallible>(response.unwrap()))
        });
        let service = joining().answer_limit(40).layer(service);
        let mut quick = Asked::of(&service, get()).body();
        let mut slow = Asked::of(&service, get()).body();
        let held = [next(&mut quick), next(&mut quick)];
        assert!(next(&mut quick).is_pending(), "the one who read them has them both");
        drop(held);
        assert_eq!(pool.lock().unwrap().0, 2, "though the other one has not read them");
        let same = next(&mut slow).is_ready() && next(&mut slow).is_ready();
        done.send(same && next(&mut quick).is_ready()).unwrap();
    });
    assert_eq!(is_done.recv_timeout(Duration::from_secs(20)), Ok(true));
}

/// Notes that it is dropped.
struct Noted(Log);

impl Drop for Noted {
    fn drop(&mut self) {
        self.0.note("dropped");
    }
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_any_more_is_dropped() {
    let log = Log::new();
    let held = log.clone();
    let service = joining().layer(service_fn(move |_: Request<ReplayRequest<Script>>| {
        let held = Noted(held.clone());
        async move {
            let _held = held;
            pending::<Result<Response<Script>, Infallible>>().await
        }
    }));
    let mut asked = [(); 2].map(|()| Asked::of(&service, get()));
    assert!(asked.iter_mut().all(|asked| asked.poll().is_pending()));
    let [first, second] = asked;
    drop(first);
    assert!(log.story().is_empty());
    drop(second);
    assert_eq!(log.story().len(), 1, "at once");
}

#[tokio::test]
async fn a_frame_wakes_all_who_wait_and_one_that_was_woken_and_left_another() {
    let gate = Gate::new();
    let script = Script::new().wait(&gate).data("a").stall();
    let service = joining().layer(upstream([text(script)]));
    let mut bodies = [(); 3].map(|()| Asked::of(&service, get()).body());
    let wakes = [(); 3].map(|()| Wakes::new());
    for (body, wakes) in bodies.iter_mut().zip(&wakes) {
        assert!(poll_body(Pin::new(body), &wakes.waker()).is_pending());
    }
    gate.open();
    let counts = || wakes.each_ref().map(Wakes::count);
    assert_eq!(counts(), [1; 3]);
    let [mut first, mut second, third] = bodies;
    // All of them were woken, but only the first reads; the second waits for nothing it was told of yet.
    assert_eq!(next(&mut first), is("a"));
    assert_eq!(next(&mut second), is("a"));
    assert!(poll_body(Pin::new(&mut second), &wakes[1].waker()).is_pending());
    let before = wakes[1].count();
    drop(first);
    drop(third);
    assert!(wakes[1].count() > before, "it has to poll from now on");
}

#[tokio::test]
async fn a_reader_with_frames_before_it_wakes_nobody_and_polls_nothing() {
    let log = Log::new();
    let script = Script::new().data("a").data("b").stall().log_into(&log);
    let service = joining().layer(upstream([text(script)]));
    let mut quick = Asked::of(&service, get()).body();
    let mut slow = Asked::of(&service, get()).body();
    let wakes = Wakes::new();
    assert_eq!((next(&mut quick), next(&mut quick)), (is("a"), is("b")));
    assert!(poll_body(Pin::new(&mut quick), &wakes.waker()).is_pending());
    let polls = log.polls();
    assert_eq!((next(&mut slow), next(&mut slow)), (is("a"), is("b")));
    assert_eq!((log.polls(), wakes.count()), (polls, 0));
}

#[tokio::test]
async fn what_a_reader_says_of_its_size_and_end_is_true_for_it() {
    let sized = text(Script::new().data("abc").data("de").exact_size(5));
    let service = joining().layer(upstream([sized, text(Script::new().data("abc").data("de"))]));
    for exact in [true, false] {
        let path = if exact { "/sized" } else { "/not" };
        let mut quick = Asked::of(&service, post(path, "")).body();
        let mut slow = Asked::of(&service, post(path, "")).body();
        assert_eq!(quick.size_hint().exact(), exact.then_some(5));
        assert_eq!((next(&mut quick), next(&mut quick)), (is("abc"), is("de")));
        assert_eq!((quick.size_hint().exact(), quick.is_end_stream()), (exact.then_some(0), true));
        let left = |slow: &Read| (slow.size_hint().exact(), slow.size_hint().lower());
        assert_eq!((left(&slow), slow.is_end_stream()), ((exact.then_some(5), 5), false));
        assert_eq!(next(&mut slow), is("abc"));
        assert_eq!((left(&slow), slow.is_end_stream()), ((exact.then_some(2), 2), false));
        assert_eq!((next(&mut slow), slow.is_end_stream()), (is("de"), true));
        assert_eq!((next(&mut slow), next(&mut quick)), (OVER, OVER));
    }
}

#[tokio::test]
async fn an_answer_without_a_body_has_none_for_all() {
    let gate = Gate::new();
    let service = joining().layer(after(&gate, text(Script::new())));
    let mut asked = [(); 2].map(|()| Asked::of(&service, get()));
    assert!(asked.iter_mut().all(|asked| asked.poll().is_pending()));
    gate.open();
    for asked in &mut asked {
        let mut body = asked.body();
        assert!(body.is_end_stream());
        assert_eq!(next(&mut body), OVER);
        assert_eq!(body.size_hint().exact(), Some(0));
    }
}

/// A body that wakes whoever polls it, while another reader asks in vain. Its Drop panics.
struct Busy(Arc<Mutex<Option<Read>>>, Wakes);

impl Body for Busy {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        let Some(mut other) = self.0.lock().unwrap().take() else { return Poll::Ready(None) };
        cx.waker().wake_by_ref();
        assert!(poll_body(Pin::new(&mut other), &self.1.waker()).is_pending());
        *self.0.lock().unwrap() = Some(other);
        Poll::Pending
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        panic!("ouch");
    }
}

#[tokio::test]
async fn a_wakeup_during_a_poll_reaches_who_found_it_polled_and_a_drop_that_panics_harms_nobody() {
    let (other, wakes) = (Arc::new(Mutex::new(None)), Wakes::new());
    let (held, waking) = (other.clone(), wakes.clone());
    let service = joining().layer(service_fn(move |_: Request<ReplayRequest<Script>>| {
        ready(Ok::<_, Infallible>(Response::new(Busy(held.clone(), waking.clone()))))
    }));
    let mut first = Asked::of(&service, get()).body();
    *other.lock().unwrap() = Some(Asked::of(&service, get()).body());
    assert!(next(&mut first).is_pending());
    assert_eq!(wakes.count(), 1, "the first one may not come back");
    drop(other.lock().unwrap().take());
    assert_eq!(next(&mut first), OVER, "at its end");
    drop(first);
    let first = Asked::of(&service, get()).body();
    drop(first);
}
