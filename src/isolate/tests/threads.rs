//! Bodies that block, and the threads that they are read on.

use super::*;

#[test]
fn an_abort_ends_a_stream_whose_body_blocks_its_thread_and_what_came_before_is_kept() {
    let runtime = one_worker();
    let body = Blocking::default();
    let (stuck, dropped) = (body.stuck.clone(), body.dropped.clone());
    let handle = AbortHandle::new();
    let abort = handle.clone();
    let received = Arc::new(AtomicBool::new(false));
    let read = received.clone();
    let task = runtime.spawn(async move {
        let mut body = AbortBody::new(IsolateBody::new(body, 4), &abort);
        let chunk = body.frame().await.unwrap().unwrap().into_data().unwrap();
        read.store(true, Ordering::SeqCst);
        let error = body.frame().await.unwrap().unwrap_err();
        assert!(body.frame().await.is_none());
        (chunk, error, Instant::now())
    });
    // On the same worker, which the body would hold.
    let (chunk, error, waited) = runtime.block_on(async move {
        tokio::spawn(async move {
            until(|| stuck.load(Ordering::SeqCst) && received.load(Ordering::SeqCst)).await;
            let start = Instant::now();
            assert!(handle.abort("stop"));
            let (chunk, error, end) = task.await.unwrap();
            (chunk, error, end - start)
        })
        .await
        .unwrap()
    });
    assert!(waited < STUCK / 10, "{waited:?}");
    assert_eq!(chunk, "kept");
    assert_eq!(error.downcast_ref::<Aborted>().unwrap().reason().text(), "stop");
    assert!(!dropped.load(Ordering::SeqCst), "nobody can drop it before its poll returns");
    runtime.block_on(until(|| dropped.load(Ordering::SeqCst)));
}

#[test]
fn a_body_that_blocks_its_thread_does_not_hold_up_other_tasks() {
    let runtime = one_worker();
    let ticks = Arc::new(AtomicUsize::new(0));
    let count = ticks.clone();
    runtime.spawn(async move {
        loop {
            sleep(Duration::from_millis(5)).await;
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let mut body = {
        let _here = runtime.enter();
        IsolateBody::new(Blocking::default(), 1)
    };
    let reader = runtime.spawn(async move {
        let mut chunks = Vec::new();
        for _ in 0..2 {
            chunks.push(body.frame().await.unwrap().unwrap().into_data().unwrap());
        }
        chunks
    });
    assert_eq!(runtime.block_on(reader).unwrap(), ["kept", "late"]);
    assert!(ticks.load(Ordering::SeqCst) > 50, "{ticks:?} in a second");
    runtime.shutdown_background(); // It is stuck again.
}

#[test]
fn a_body_that_has_ended_holds_no_thread_though_its_reader_keeps_it() {
    let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(1).build();
    let runtime = runtime.unwrap();
    runtime.block_on(async {
        let mut kept = Vec::new();
        for end in [Script::new().data("x"), Script::new().error("boom").stall()] {
            let mut body = IsolateBody::new(end.eos(Eos::Never), 1);
            timeout(LIMIT, drain(&mut body)).await.unwrap();
            kept.push(body);
        }
        let last = IsolateBody::new(Script::new().data("x"), 1);
        assert_eq!(timeout(LIMIT, drain(last)).await.unwrap().data, "x");
    });
}

#[tokio::test]
async fn a_reader_that_leaves_has_the_inner_body_dropped_at_once_on_its_own_thread() {
    let script = Script::new().data("x").stall();
    let log = script.log();
    let mut body = IsolateBody::new(script, 1);
    body.frame().await.unwrap().unwrap();
    log.first(|event| *event == Event::Poll).await;
    drop(body);
    log.dropped_within(LIMIT).await;
}

#[test]
fn a_runtime_that_shuts_down_is_not_held_up_and_its_reader_gets_an_error() {
    for runtime in [one_worker(), Builder::new_current_thread().enable_all().build().unwrap()] {
        let stalled = Script::new().data("x").stall();
        let blocked = Script::new().endless("x");
        let logs = [stalled.log(), blocked.log()];
        let mut bodies = runtime
            .block_on(async { [IsolateBody::new(stalled, 4), IsolateBody::new(blocked, 1)] });
        runtime.block_on(logs[0].first(|event| *event == Event::Data(1)));
        runtime.block_on(logs[1].first(|event| *event == Event::Data(1)));
        drop(runtime); // Waits for the threads.
        assert!(logs.iter().all(|log| log.dropped_at().is_some()));
        let other = Builder::new_current_thread().build().unwrap();
        for body in &mut bodies {
            let error = other.block_on(drain(body)).error.unwrap();
            assert!(error.is::<PumpLost>(), "never a clean end: {error}");
        }
        drop(bodies);
    }
}

#[test]
fn a_body_that_waits_for_a_thread_when_the_runtime_shuts_down_is_lost_too() {
    let runtime = Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
    let (first, second) = (Script::new().stall(), Script::new().data("x"));
    let log = second.log();
    let (first, second) =
        runtime.block_on(async { (IsolateBody::new(first, 1), IsolateBody::new(second, 1)) });
    drop(runtime);
    assert_eq!(log.polls(), 0);
    let other = Builder::new_current_thread().build().unwrap();
    assert!(other.block_on(drain(second)).error.unwrap().is::<PumpLost>());
    drop(first);
}

#[test]
fn without_a_runtime_the_body_is_polled_by_its_reader() {
    let log = Log::new();
    let body = IsolateBody::new(Script::new().data("x").error("boom").log_into(&log), 1);
    assert_eq!(log.polls(), 0);
    let other = Builder::new_current_thread().build().unwrap();
    let seen = other.block_on(drain(body));
    assert_eq!((&*seen.data, seen.error.unwrap().to_string()), (&b"x"[..], "boom".to_owned()));
}

#[tokio::test]
async fn a_body_that_waits_is_woken_on_its_thread() {
    let gate = Gate::new();
    let body = IsolateBody::new(
        Script::new().data("a").wait(&gate).data("b").sleep(Duration::from_millis(5)).data("c"),
        1,
    );
    let reading = tokio::spawn(drain(body));
    tokio::task::yield_now().await;
    gate.open();
    assert_eq!(timeout(LIMIT, reading).await.unwrap().unwrap().data, "abc");
}
