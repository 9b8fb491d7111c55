//! A client that does not leave, but does not read either.

use testkit::drain;
use tokio::time::sleep;

use super::*;

/// Outside of Detach, and the other limits inside.
const UNREAD: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(20);

/// A response on its way through Timeouts (unread), Detach, Abort, Timeouts (idle) and Finalize, of which the client reads
/// so many frames, and no more.
struct Asleep {
    body: UnsyncBoxBody<Bytes, BoxError>,
    told: UnboundedReceiver<Ending>,
    handle: AbortHandle,
    log: Log,
}

impl Asleep {
    async fn after(frames: usize, layer: DetachLayer<super::super::All>, script: Script) -> Self {
        let (tell, told) = unbounded_channel();
        let (handle, log) = (AbortHandle::new(), script.log());
        let abort = handle.clone();
        let script = Arc::new(Mutex::new(Some(script)));
        let service = ServiceBuilder::new()
            .layer(TimeoutsLayer::new(Limits::new().unread(UNREAD)))
            .layer(layer)
            .layer(AbortLayer::new(move |_| abort.clone()))
            .layer(TimeoutsLayer::new(Limits::new().idle(IDLE)))
            .layer(FinalizeLayer::new(move |_| {
                let tell = tell.clone();
                move |ending| tell.send(ending).unwrap()
            }))
            .service(service_fn(move |_: Request<()>| {
                let script = script.lock().unwrap().take().unwrap();
                async { Ok::<_, Infallible>(Response::new(script)) }
            }));
        let body = service.oneshot(Request::new(())).await.unwrap().into_body();
        let mut body = UnsyncBoxBody::new(body);
        for _ in 0..frames {
            body.frame().await.unwrap().unwrap();
        }
        Self { body, told, handle, log }
    }

    /// What is told: bytes until it was given up, and what was drained.
    async fn given_up(&mut self) -> (u64, Option<(u64, DrainEnd)>) {
        let ending = self.told.recv().await.unwrap();
        assert_eq!((ending.outcome, ending.reason()), (Outcome::TimedOut, Some("unread")));
        (ending.bytes, ending.drained.map(|drained| (drained.bytes, drained.end)))
    }
}

fn words() -> Script {
    Script::new().data("ab").data("c").sleep(SECOND).data("usage")
}

#[tokio::test(start_paused = true)]
async fn whoever_is_given_up_for_not_reading_is_drained_as_one_who_left() {
    let start = Instant::now();
    let mut asleep = Asleep::after(1, layer(), words()).await;
    assert_eq!(asleep.given_up().await, (2, Some((6, DrainEnd::Completed))));
    assert_eq!(start.elapsed(), UNREAD + SECOND);
    // And is told so, should it read again.
    let seen = drain(asleep.body).await;
    assert!(seen.data.is_empty());
    assert!(seen.error.unwrap().to_string().starts_with("unread timeout"));
}

#[tokio::test(start_paused = true)]
async fn who_never_began_to_read_is_drained_too() {
    let mut asleep = Asleep::after(0, layer(), words()).await;
    assert_eq!(asleep.given_up().await, (0, Some((8, DrainEnd::Completed))));
}

#[tokio::test(start_paused = true)]
async fn while_the_rest_is_read_it_may_leave_and_nothing_changes() {
    let script = Script::new().data("ab").data("c").sleep(10 * SECOND).data("usage");
    let mut asleep = Asleep::after(1, layer(), script).await;
    sleep(UNREAD + SECOND).await;
    asleep.body = UnsyncBoxBody::default();
    assert_eq!(asleep.given_up().await, (2, Some((6, DrainEnd::Completed))));
}

#[tokio::test(start_paused = true)]
async fn the_limits_of_the_drain_and_those_inside_hold() {
    let limits = DrainLimits::new();
    let long = || Script::new().data("ab").data("c").stall();
    for (limits, script, drained, after) in [
        (limits.time(SECOND), long(), 1, UNREAD + SECOND),
        (limits.bytes(0), long(), 1, UNREAD),
        (limits.streams(0), long(), 0, UNREAD),
        (limits, long(), 1, UNREAD + IDLE),
    ] {
        let start = Instant::now();
        let mut asleep = Asleep::after(1, DetachLayer::new(limits), script).await;
        assert_eq!(asleep.given_up().await, (2, Some((drained, DrainEnd::Limit))));
        assert_eq!(start.elapsed(), after);
        assert!(asleep.log.dropped_at().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_during_such_a_drain_ends_it_and_nothing_else_changes() {
    let mut asleep = Asleep::after(1, layer(), Script::new().data("ab").data("c").stall()).await;
    sleep(UNREAD + SECOND).await;
    assert!(asleep.handle.abort("operator"));
    assert_eq!(asleep.given_up().await, (2, Some((1, DrainEnd::Aborted))));
    assert!(asleep.log.dropped_at().is_some());
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_drained_the_upstream_is_let_go_when_the_limit_is_hit() {
    let start = Instant::now();
    let refuses: super::super::All = |_| |_| false;
    let layer = layer().when(refuses);
    let mut asleep = Asleep::after(1, layer, words()).await;
    assert_eq!(asleep.given_up().await, (2, None));
    assert_eq!(asleep.log.dropped_at(), Some(start + UNREAD));
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_stands_inside_has_taken_away_what_there_was_to_drain() {
    let (tell, mut told) = unbounded_channel();
    let log = Log::new();
    let logged = log.clone();
    let service = ServiceBuilder::new()
        .layer(layer())
        .layer(FinalizeLayer::new(move |_| {
            let tell = tell.clone();
            move |ending: Ending| tell.send(ending).unwrap()
        }))
        .layer(TimeoutsLayer::new(Limits::new().unread(UNREAD)))
        .service(service_fn(move |_: Request<()>| {
            let script = words().log_into(&logged);
            async { Ok::<_, Infallible>(Response::new(script)) }
        }));
    let mut body = service.oneshot(Request::new(())).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    log.dropped().await;
    drop(body);
    let ending = told.recv().await.unwrap();
    assert_eq!((ending.outcome, ending.drained), (Outcome::TimedOut, None));
}

// The attempt begins after the client, which has an early head, was given up and has left.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_follows_in_the_drain_does_not_take_the_cause_back() {
    let (tell, mut told) = unbounded_channel();
    let attempts = TimeoutsLayer::new(Limits::new().head(IDLE));
    let retrying = service_fn(move |request: Request<()>| {
        let attempts = attempts.clone();
        async move {
            let refuses = attempts.layer(service_fn(|_: Request<()>| async {
                sleep(UNREAD + 5 * SECOND).await;
                Err::<Response<Script>, _>(ScriptError::new("refused"))
            }));
            assert!(refuses.oneshot(request.clone()).await.is_err());
            let answers = attempts.layer(service_fn(|_: Request<()>| async {
                let response = Response::builder().header("content-type", "text/event-stream");
                Ok::<_, ScriptError>(response.body(Script::new().data("data: 1\n\n")).unwrap())
            }));
            answers.oneshot(request).await
        }
    });
    let service = ServiceBuilder::new()
        .layer(TimeoutsLayer::new(Limits::new().unread(UNREAD)))
        .layer(layer())
        .layer(EarlyHeadLayer::new(SECOND).when(|_| || true))
        .layer(FinalizeLayer::new(move |_| {
            let tell = tell.clone();
            move |ending: Ending| tell.send(ending).unwrap()
        }))
        .service(retrying);
    let body = service.oneshot(Request::new(())).await.unwrap().into_body();
    sleep(UNREAD + SECOND).await;
    drop(body);
    let ending = told.recv().await.unwrap();
    assert_eq!((ending.outcome, ending.reason()), (Outcome::TimedOut, Some("unread")));
    assert_eq!(ending.drained, Some(Drained { bytes: 9, end: DrainEnd::Completed }));
}
