//! What reaches the reader: everything, in order, and never a false end.

use super::*;

#[tokio::test]
async fn frames_and_trailers_pass_unchanged_in_order() {
    let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), "1".parse().unwrap())]);
    let mut script = Script::new();
    for n in 0..100 {
        script = script.data(n.to_string()).pending();
    }
    let log = script.log();
    let seen = drain(IsolateBody::new(script.trailers(trailers.clone()).stall(), 3)).await;
    assert_eq!(seen.frames, (0..100).map(|n| Bytes::from(n.to_string())).collect::<Vec<_>>());
    assert_eq!((seen.trailers, seen.error.is_none()), (Some(trailers), true));
    assert!(log.dropped_at().is_some(), "when the end is read the inner body is gone");
}

#[tokio::test]
async fn the_end_is_the_inner_bodys_by_none_and_by_its_flag() {
    for eos in [Eos::Never, Eos::Truthful] {
        let script = Script::new().data("x").eos(eos);
        let log = script.log();
        let mut body = IsolateBody::new(script, 1);
        body.frame().await.unwrap().unwrap();
        assert!(!body.is_end_stream(), "not before it was read");
        assert!(body.frame().await.is_none());
        assert!(body.is_end_stream() && log.dropped_at().is_some());
        assert!(body.frame().await.is_none(), "for ever");
        assert_eq!(log.count(|event| *event == Event::End), usize::from(eos == Eos::Never));
    }
}

#[tokio::test]
async fn an_error_reaches_the_reader_after_what_came_before_it_and_is_the_very_same() {
    let mut body = IsolateBody::new(Script::new().data("x").error("boom").data("late"), 4);
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "x");
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(error.downcast_ref::<ScriptError>().unwrap().to_string(), "boom");
    assert!(body.frame().await.is_none());
    assert_eq!(body.size_hint().exact(), Some(0));
}

#[tokio::test]
async fn a_panic_reaches_the_reader_as_an_error_and_is_the_cause_of_the_end() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let log = Log::new();
    let (outside, inside) = (tell.clone(), tell);
    let service = tower::ServiceBuilder::new()
        .layer(FinalizeLayer::new(move |_| {
            let tell = outside.clone();
            move |ending: Ending| tell.send(("outside", ending)).unwrap()
        }))
        .layer(IsolateLayer::new(4))
        .layer(FinalizeLayer::new(move |_| {
            let tell = inside.clone();
            move |ending: Ending| tell.send(("inside", ending)).unwrap()
        }))
        .service(service_fn(|_: Request<()>| async {
            let script = Script::new().data("x").panic("boom").log_into(&log);
            Ok::<_, ScriptError>(Response::new(script))
        }));
    let body = service.oneshot(Request::new(())).await.unwrap().into_body();
    let seen = drain(body).await;
    assert_eq!(seen.data, "x");
    let error: BoxError = seen.error.unwrap();
    assert_eq!(error.downcast_ref::<BodyPanicked>().unwrap().message(), "boom");
    for place in ["inside", "outside"] {
        let (at, ending) = told.recv().await.unwrap();
        assert_eq!((at, ending.outcome, ending.reason()), (place, Outcome::Panicked, Some("boom")));
    }
    assert_eq!(log.count(|event| *event == Event::Dropped { panicking: false }), 1);
}

#[tokio::test]
async fn the_cause_of_a_panic_is_known_before_the_body_is_dropped() {
    struct Boom(Exchange, Log);
    impl Body for Boom {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            panic!("boom")
        }
    }
    impl Drop for Boom {
        fn drop(&mut self) {
            self.1.note(format!("{:?}", self.0.cause().map(|cause| cause.outcome())));
        }
    }
    let log = Log::new();
    let service = IsolateLayer::new(1).layer(service_fn(|request: Request<()>| {
        let exchange = Exchange::get(request.extensions()).unwrap();
        let body = Boom(exchange, log.clone());
        async { Ok::<_, ScriptError>(Response::new(body)) }
    }));
    drain(service.oneshot(Request::new(())).await.unwrap().into_body()).await;
    assert_eq!(log.story(), [Event::Note("Some(Panicked)".into())]);
}

#[tokio::test]
async fn without_a_shared_exchange_a_panic_is_told_as_one_too() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let body = IsolateBody::new(Script::new().panic("boom"), 1);
    let body = crate::finalize::FinalizeBody::new(body, |ending| tell.send(ending).unwrap());
    drain(body).await;
    let ending = told.recv().await.unwrap();
    assert_eq!((ending.outcome, ending.reason()), (Outcome::Panicked, Some("boom")));
}

#[tokio::test]
async fn the_body_is_read_from_the_start_but_never_more_than_its_capacity_and_one_ahead() {
    for (capacity, ahead) in [(0, 2), (1, 2), (5, 6)] {
        let script = Script::new().endless("x");
        let log = script.log();
        let taken = || log.count(|event| *event == Event::Data(1));
        let mut body = IsolateBody::new(script, capacity);
        until(|| taken() == ahead).await;
        for read in 1..4 {
            body.frame().await.unwrap().unwrap();
            until(|| taken() == ahead + read).await;
        }
        sleep(Duration::from_millis(20)).await;
        assert_eq!(taken(), ahead + 3);
        drop(body);
        log.dropped_within(LIMIT).await;
    }
    drop(IsolateBody::new(Script::new(), usize::MAX));
    drop(IsolateBody::new(Script::new().stall(), usize::MAX));
}

#[tokio::test]
async fn sizes_are_the_inner_bodys_less_what_was_read() {
    let exact = || Script::new().data("ab").data("c").stall().exact_size(3);
    let mut body = through(Request::new(()), Response::new(exact())).await;
    for left in [3, 1, 0] {
        assert_eq!(body.size_hint().exact(), Some(left));
        if left > 0 {
            body.frame().await.unwrap().unwrap();
        }
    }
    let mut hint = SizeHint::new();
    hint.set_lower(1);
    hint.set_upper(9);
    let mut body = IsolateBody::new(Script::new().data("ab").hint(hint), 1);
    body.frame().await.unwrap().unwrap();
    assert_eq!((body.size_hint().lower(), body.size_hint().upper()), (0, Some(7)));
    let mut lying = IsolateBody::new(Script::new().data("abc").exact_size(1), 1);
    lying.frame().await.unwrap().unwrap();
    assert_eq!(lying.size_hint().exact(), Some(0));
}

#[tokio::test]
async fn tunnels_and_responses_without_a_body_are_left_to_their_reader() {
    for (method, status) in
        [(Method::GET, 101), (Method::CONNECT, 200), (Method::HEAD, 200), (Method::GET, 204)]
    {
        let request = Request::builder().method(method).body(()).unwrap();
        let script = Script::new().data("raw");
        let log = script.log();
        let body = through(request, Response::builder().status(status).body(script).unwrap()).await;
        sleep(Duration::from_millis(5)).await;
        assert_eq!(log.polls(), 0, "no thread reads it");
        let seen = drain(body).await;
        assert_eq!(seen.data, "raw");
    }
    let body = IsolateBody::new(Script::new(), 1);
    assert!(body.is_end_stream(), "an empty one");
}

#[tokio::test]
async fn an_error_of_the_service_is_handed_on_and_the_exchange_found() {
    let service = IsolateLayer::new(1).layer(service_fn(|request: Request<()>| async move {
        assert!(Exchange::get(request.extensions()).is_some());
        Err::<Response<Script>, _>(ScriptError::new("refused"))
    }));
    let error: ScriptError = service.oneshot(Request::new(())).await.unwrap_err();
    assert_eq!(error.to_string(), "refused");
}
