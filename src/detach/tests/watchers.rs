//! Who is told what, wherever it stands.

use testkit::Event;

use super::*;

#[tokio::test]
async fn the_rest_is_read_though_nobody_watches() {
    let script = Script::new().data("ab").data("c").data("d");
    let log = script.log();
    let mut body = DetachBody::new(script, &layer());
    body.frame().await.unwrap().unwrap();
    drop(body);
    log.dropped().await;
    assert_eq!(log.count(|event| *event == Event::Data(1)), 2);
}

#[tokio::test]
async fn a_body_that_is_complete_by_its_flag_is_not_read_on_though_nobody_watches() {
    let script = Script::new().data("ab").end().stall();
    let log = script.log();
    let mut body = DetachBody::new(script, &layer());
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert!(log.dropped_at().is_some());
}

#[tokio::test]
async fn a_drain_takes_its_turn_with_other_tasks_though_nothing_inside_sees_to_it() {
    let layer = DetachLayer::new(DrainLimits::new().bytes(100_000));
    let script = Script::new().endless("x");
    let log = script.log();
    let mut body = DetachBody::new(script, &layer);
    body.frame().await.unwrap().unwrap();
    drop(body);
    tokio::task::yield_now().await;
    assert!((2..100_000).contains(&log.polls()), "{}", log.polls());
}

#[tokio::test]
async fn a_finalize_outside_reports_at_once_and_one_inside_at_the_end() {
    let gate = testkit::Gate::new();
    let (tell, mut told) = unbounded_channel();
    let telling = |place: &'static str| {
        let tell = tell.clone();
        FinalizeLayer::new(move |_: &request::Parts| {
            let tell = tell.clone();
            move |ending: Ending| tell.send((place, ending)).unwrap()
        })
    };
    let service = ServiceBuilder::new()
        .layer(telling("outside"))
        .layer(layer())
        .layer(telling("inside"))
        .layer(telling("further inside"))
        .service(service_fn(|_: Request<()>| async {
            Ok::<_, Infallible>(Response::new(Script::new().data("ab").wait(&gate).data("c")))
        }));
    let mut body = service.oneshot(Request::new(())).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    let (place, ending) = told.try_recv().unwrap();
    assert_eq!((place, ending.outcome, ending.drained), ("outside", Outcome::Disconnected, None));
    assert!(told.try_recv().is_err());
    gate.open();
    for expected in ["further inside", "inside"] {
        let (place, ending) = told.recv().await.unwrap();
        assert_eq!((place, ending.outcome, ending.bytes), (expected, Outcome::Disconnected, 2));
        assert_eq!(ending.drained, Some(Drained { bytes: 1, end: DrainEnd::Completed }));
    }
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn a_finalize_outside_that_has_reported_does_not_put_the_drain_out_of_reach() {
    let (tell, mut told) = unbounded_channel();
    let handle = AbortHandle::new();
    let (abort, log) = (handle.clone(), Log::new());
    let logged = log.clone();
    let service = ServiceBuilder::new()
        .layer(FinalizeLayer::new(move |_| {
            let tell = tell.clone();
            move |ending: Ending| tell.send(ending.outcome).unwrap()
        }))
        .layer(layer())
        .layer(AbortLayer::new(move |_| abort.clone()))
        .service(service_fn(move |_: Request<()>| {
            let script = Script::new().data("ab").stall().log_into(&logged);
            async { Ok::<_, Infallible>(Response::new(script)) }
        }));
    let mut body = service.oneshot(Request::new(())).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(told.try_recv(), Ok(Outcome::Disconnected));
    assert!(handle.abort("operator"));
    log.dropped_within(SECOND).await;
    assert!(!handle.abort("again"));
}

#[tokio::test]
async fn two_layers_drain_once() {
    let outer = layer();
    let inner = DetachLayer::new(DrainLimits::new().streams(0));
    let script = Script::new().data("ab").data("c").data("d");
    let log = script.log();
    let response = Mutex::new(Some(Response::new(script)));
    let service = outer.layer(inner.layer(service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(response.lock().unwrap().take().unwrap())
    })));
    let mut body = service.oneshot(Request::new(())).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    log.dropped().await;
    assert_eq!(log.count(|event| *event == Event::Data(1)), 2);
}

#[tokio::test]
async fn a_recording_of_a_drain_that_was_cut_is_not_complete() {
    let layer = DetachLayer::new(DrainLimits::new().bytes(0));
    let mut stream = open(&layer, Script::new().data("ab").data("c").stall()).await;
    stream.read().await;
    let ending = stream.leave().ending().await;
    let recording = ending.exchange.fact::<Recording>().unwrap();
    assert_eq!(
        (&*recording.to_bytes(), recording.outcome()),
        (&b"abc"[..], Some(Outcome::Disconnected))
    );
}
