//! What comes after an early head.

use std::{
    future::pending,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use http::HeaderMap;
use testkit::Eos;
use tokio::sync::mpsc::unbounded_channel;

use super::*;
use crate::{
    abort::{AbortHandle, AbortLayer},
    finalize::FinalizeLayer,
};

#[tokio::test(start_paused = true)]
async fn a_late_event_stream_streams_on() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "1".parse().unwrap());
    for content_type in ["text/event-stream", "Text/Event-Stream; charset=utf-8"] {
        let script = Script::new().data("data: a\n\n").sleep(LATE).data("data: b\n\n");
        let script = script.trailers(trailers.clone()).data("late");
        let log = script.log();
        let answer = Response::builder().status(206).header("content-type", content_type);
        let answer = answer.header("content-encoding", "identity").body(script).unwrap();
        let (request, exchange) = asking();
        let start = Instant::now();
        let mut body = early(answering(LATE, Ok(answer)), request).await;
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "data: a\n\n");
        assert_eq!(start.elapsed(), LATE);
        let seen = drain(&mut body).await;
        assert_eq!(&seen.data[..], b"data: b\n\n");
        assert_eq!(seen.trailers.unwrap()["x-sum"], "1");
        assert_eq!(log.count(|event| *event == Event::Dropped { panicking: false }), 1);
        assert!(body.is_end_stream() && body.frame().await.is_none());
        assert!(format!("{body:?}").contains("ended") && exchange.cause().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_and_the_size_are_the_late_bodys_as_soon_as_it_is_there() {
    let mut body =
        early(answering(LATE, sse(Script::new().data("ab").data("c").exact_size(3))), asking().0)
            .await;
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (None, false));
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "ab");
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(1), false));
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "c");
    assert!(body.is_end_stream());

    let mut empty = early(answering(LATE, sse(Script::new())), asking().0).await;
    assert!(!empty.is_end_stream());
    assert!(empty.frame().await.is_none() && empty.is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_late_body_is_handed_on_and_nothing_follows() {
    let script = Script::new().data("a").error("boom").data("late");
    let (request, exchange) = asking();
    let mut body = early(answering(LATE, sse(script)), request).await;
    let seen = drain(&mut body).await;
    assert_eq!((&seen.data[..], seen.error.unwrap().is::<ScriptError>()), (&b"a"[..], true));
    assert!(body.frame().await.is_none() && exchange.cause().is_none());
}

/// What is told of a late answer: the error, and the ending that a hook inside is given.
async fn told(answer: Response<Script>) -> (BoxError, crate::finalize::Ending) {
    let (tell, mut told) = unbounded_channel();
    let finalize = FinalizeLayer::new(move |_: &Parts| {
        let tell = tell.clone();
        move |ending| tell.send(ending).unwrap()
    });
    let log = answer.body().log();
    let (request, exchange) = asking();
    let mut body = early(finalize.layer(answering(LATE, Ok(answer))), request).await;
    let mut seen = drain(&mut body).await;
    assert!(seen.frames.is_empty() && body.is_end_stream() && body.frame().await.is_none());
    assert_eq!(log.story(), [Event::Dropped { panicking: false }], "it is not read");
    let ending = told.try_recv().expect("the ending is told by now");
    assert!(told.try_recv().is_err());
    assert_eq!(ending.exchange.id(), exchange.id());
    (seen.error.take().unwrap(), ending)
}

#[tokio::test(start_paused = true)]
async fn a_late_status_that_is_no_success_is_an_error_and_its_cause_is_known_inside() {
    let statuses = [(429, "429 Too Many Requests"), (500, "500 Internal Server Error")];
    for (status, text) in
        statuses.into_iter().chain([(302, "302 Found"), (304, "304 Not Modified")])
    {
        for script in
            [Script::new().data("{}").stall(), Script::new(), Script::new().eos(Eos::Never)]
        {
            let answer = Response::builder().status(status);
            let answer = answer.header("content-type", "text/event-stream").body(script).unwrap();
            let (error, ending) = told(answer).await;
            let late = error.downcast_ref::<LateHead>().unwrap();
            assert_eq!(late.status().as_u16(), status);
            assert_eq!(late.to_string(), format!("the upstream answered late: {text}"));
            assert_eq!(ending.outcome, Outcome::Failed);
            let reason = format!("upstream_status_{status}");
            assert_eq!((ending.reason(), &*late.reason()), (Some(&*reason), &*reason));
            assert_eq!(ending.error().unwrap().to_string(), late.to_string());
            assert_eq!(ending.status.unwrap().as_u16(), status, "inside it is known");
            assert_eq!(ending.exchange.fact::<EarlyHead>().unwrap().status.as_u16(), 200);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_success_that_is_no_event_stream_is_an_error_too() {
    let heads: [&[(&str, &str)]; 4] = [
        &[("content-type", "application/json")],
        &[],
        &[("content-type", "application/x-ndjson")],
        &[("content-type", "text/event-stream"), ("content-encoding", "gzip")],
    ];
    for head in heads {
        let answer = Response::builder().status(201);
        let answer = head.iter().fold(answer, |answer, (name, value)| answer.header(*name, *value));
        let (error, ending) = told(answer.body(Script::new().data("{}")).unwrap()).await;
        let late = error.downcast_ref::<LateHead>().unwrap();
        let text = "the upstream answered late, and not with an event stream: 201 Created";
        assert_eq!((late.status().as_u16(), late.to_string()), (201, text.to_owned()));
        assert_eq!(
            (ending.outcome, ending.reason()),
            (Outcome::Failed, Some("upstream_not_a_stream"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_cause_that_was_recorded_before_stays() {
    let (request, exchange) = asking();
    // A handler that answers a failure with a response of its own.
    let service = service_fn(|request: Request<()>| async move {
        sleep(LATE).await;
        let reason = Some("upstream_unreachable".into());
        Exchange::get(request.extensions()).unwrap().record(Cause::Failed { reason, error: None });
        Ok::<_, ScriptError>(Response::builder().status(502).body(Script::new()).unwrap())
    });
    let seen = drain(early(service, request).await).await;
    assert_eq!(seen.error.unwrap().downcast_ref::<LateHead>().unwrap().status(), 502);
    assert_eq!(ending(&exchange), (Outcome::Failed, "upstream_unreachable".into()));
}

#[tokio::test(start_paused = true)]
async fn a_late_service_error_is_the_error_of_the_body() {
    let (request, exchange) = asking();
    let mut body = early(answering(LATE, Err(ScriptError::new("refused"))), request).await;
    let seen = drain(&mut body).await;
    assert_eq!(seen.error.unwrap().downcast_ref::<ScriptError>().unwrap().to_string(), "refused");
    assert!(body.is_end_stream() && body.frame().await.is_none());
    assert_eq!(ending(&exchange).0, Outcome::Failed);
    assert_eq!(exchange.cause().unwrap().error().unwrap().messages()[0], "refused");
}

#[tokio::test(start_paused = true)]
async fn an_abort_inside_keeps_its_cause_and_its_answer_comes_late() {
    let (handle, log) = (AbortHandle::new(), Log::new());
    let abort = AbortLayer::new({
        let handle = handle.clone();
        move |_: &Parts| handle.clone()
    });
    let held = Script::new().log_into(&log);
    let held = Arc::new(Mutex::new(Some(held)));
    let service = abort.layer(service_fn(move |_: Request<()>| {
        let held = held.lock().unwrap().take();
        async move {
            let _held = held;
            pending::<Answer>().await
        }
    }));
    let (request, exchange) = asking();
    let mut body = early(service, request).await;
    assert!(timeout(LATE, body.frame()).await.is_err());
    assert!(handle.abort("operator pressed stop"));
    log.dropped().await; // Without a poll.
    let seen = drain(&mut body).await;
    assert_eq!(seen.error.unwrap().downcast_ref::<LateHead>().unwrap().status(), 503);
    assert_eq!(ending(&exchange), (Outcome::Aborted, "operator pressed stop".into()));
    assert_eq!(handle.dependents(), 0);
}

/// Holds a body and then panics.
async fn panicking(held: Script) -> Answer {
    sleep(LATE).await;
    assert!(held.is_end_stream(), "boom");
    sse(held)
}

#[tokio::test(start_paused = true)]
async fn a_late_panic_goes_on_out_of_the_body_and_the_future_is_dropped_before() {
    let log = Log::new();
    let held = Mutex::new(Some(Script::new().stall().log_into(&log)));
    let (request, exchange) = asking();
    let service = service_fn(|_: Request<()>| panicking(held.lock().unwrap().take().unwrap()));
    let mut body = early(service, request).await;
    assert!(timeout(LATE / 2, body.frame()).await.is_err());
    sleep(LATE).await;
    let panic =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| poll(&mut body).is_ready()));
    assert_eq!(panic.unwrap_err().downcast_ref::<&str>(), Some(&"boom"));
    // As an async function, it drops what it holds itself while it unwinds.
    assert_eq!(log.count(|event| matches!(event, Event::Dropped { .. })), 1);
    assert_eq!(ending(&exchange).0, Outcome::Panicked);
    assert!(body.is_end_stream() && matches!(poll(&mut body), Poll::Ready(None)));
}

/// Panics when polled, and is a bomb when dropped.
struct Bomb(Log);

impl Future for Bomb {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Answer> {
        if self.0.story().is_empty() {
            return Poll::Pending;
        }
        panic!("in the poll")
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.note(if std::thread::panicking() { "unwinding" } else { "calmly" });
        panic!("in the drop");
    }
}

#[tokio::test(start_paused = true)]
async fn a_future_that_panics_again_when_it_is_dropped_does_not_abort_the_process() {
    let log = Log::new();
    let bomb = Bomb(log.clone());
    let bomb = Mutex::new(Some(bomb));
    let (request, _) = asking();
    let service = service_fn(|_: Request<()>| bomb.lock().unwrap().take().unwrap());
    let mut body = early(service, request).await;
    log.note("panic from now on");
    let panic =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| poll(&mut body).is_ready()));
    assert_eq!(panic.unwrap_err().downcast_ref::<&str>(), Some(&"in the poll"));
    assert_eq!(log.story()[1..], [Event::Note("calmly".into())]);
    assert!(matches!(poll(&mut body), Poll::Ready(None)));
}

fn poll<F, B>(
    body: &mut EarlyHeadBody<F, B>,
) -> Poll<Option<Result<http_body::Frame<B::Data>, BoxError>>>
where
    EarlyHeadBody<F, B>: Body<Data = B::Data, Error = BoxError> + Unpin,
    B: Body,
{
    Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_while_it_waits_takes_the_inner_future_with_it() {
    let log = Log::new();
    let held = Mutex::new(Some(Script::new().log_into(&log)));
    let service = service_fn(|_: Request<()>| {
        let held = held.lock().unwrap().take();
        async move {
            let _held = held;
            pending::<Answer>().await
        }
    });
    let (request, exchange) = asking();
    let mut body = early(service, request).await;
    assert!(timeout(LATE, body.frame()).await.is_err());
    assert!(log.story().is_empty());
    drop(body);
    assert_eq!(log.story(), [Event::Dropped { panicking: false }]);
    assert!(exchange.cause().is_none(), "it is for a watcher to say");
}

#[tokio::test(start_paused = true)]
async fn a_late_body_that_is_always_ready_starves_nobody() {
    let script = Script::new().endless("x");
    let log = script.log();
    let mut body = early(answering(LATE, sse(script)), asking().0).await;
    let reading = async {
        for _ in 0..100_000 {
            assert!(body.frame().await.unwrap().is_ok());
        }
        panic!("nobody else had a turn");
    };
    let others = async {
        log.first(|event| matches!(event, Event::Data(_))).await;
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! { () = others => {}, () = reading => {} }
}
