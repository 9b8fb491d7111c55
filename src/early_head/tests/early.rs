//! The moment in which a head is committed.

use std::{
    cell::{Cell, RefCell},
    future::{pending, poll_fn},
    pin::pin,
    rc::Rc,
    task::Poll,
};

use tokio::{task::coop, time::advance};

use super::*;

/// A service that never answers.
fn never(_: Request<()>) -> impl Future<Output = Answer> {
    pending()
}

#[tokio::test(start_paused = true)]
async fn when_the_time_passes_the_client_is_given_a_head() {
    let (request, exchange) = asking();
    let start = Instant::now();
    let response =
        EarlyHeadLayer::new(AFTER).layer(service_fn(never)).oneshot(request).await.unwrap();
    assert_eq!((start.elapsed(), response.status().as_u16()), (AFTER, 200));
    let headers: Vec<_> =
        response.headers().iter().map(|(k, v)| (k.as_str(), v.to_str().unwrap())).collect();
    assert_eq!(headers, [("content-type", "text/event-stream"), ("cache-control", "no-cache")]);

    let fact = exchange.fact::<EarlyHead>().unwrap();
    assert_eq!((fact.status.as_u16(), fact.time_to_head), (200, AFTER));
    assert!(exchange.cause().is_none());

    let mut body = response.into_body();
    let hint = body.size_hint();
    assert_eq!((hint.lower(), hint.upper(), body.is_end_stream()), (0, None, false));
    assert!(format!("{body:?}").contains("waiting"));
    assert!(timeout(1_000 * SECOND, body.frame()).await.is_err(), "it waits");
}

#[tokio::test(start_paused = true)]
async fn without_the_wish_for_a_stream_no_head_is_early() {
    for accept in ["*/*", "application/json", "text/event-stream;q=0"] {
        let mut request = Request::get("/").header(header::ACCEPT, accept).body(()).unwrap();
        let exchange = Exchange::of(&mut request);
        let call = EarlyHeadLayer::new(AFTER).layer(answering(LATE, sse(Script::new())));
        let start = Instant::now();
        assert_eq!(call.oneshot(request).await.unwrap().headers().len(), 1);
        assert_eq!(start.elapsed(), LATE);
        assert!(exchange.fact::<EarlyHead>().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn the_wish_may_become_known_later_and_is_asked_for_each_time_the_time_has_passed() {
    let (requests, asked) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(Vec::new())));
    let start = Instant::now();
    let layer = EarlyHeadLayer::new(AFTER).when({
        let (requests, asked) = (requests.clone(), asked.clone());
        move |request: &Parts| {
            assert_eq!(request.uri.path(), "/stream");
            requests.set(requests.get() + 1);
            let asked = asked.clone();
            move || {
                asked.borrow_mut().push(start.elapsed().as_secs());
                asked.borrow().len() > 2
            }
        }
    });
    let request = Request::get("/stream").body(()).unwrap();
    let response = layer.layer(service_fn(never)).oneshot(request).await.unwrap();
    assert_eq!((response.status().as_u16(), start.elapsed()), (200, 3 * AFTER));
    assert!(timeout(LATE, response.into_body().frame()).await.is_err());
    assert_eq!((requests.get(), &*asked.borrow()), (1, &vec![5, 10, 15]), "not after the yes");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_comes_before_the_yes_is_the_head() {
    let asked = Cell::new(0);
    let layer = EarlyHeadLayer::new(AFTER).when(|_: &Parts| {
        || {
            asked.set(asked.get() + 1);
            asked.get() > 2
        }
    });
    let answer = Response::builder().status(404).body(Script::new()).unwrap();
    let service = layer.layer(answering(14 * SECOND, Ok(answer)));
    assert_eq!(service.oneshot(Request::new(())).await.unwrap().status(), 404);
    assert_eq!(asked.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_jump_of_the_clock_is_one_question_and_no_storm() {
    let (asked, polls) = (Cell::new(0), Cell::new(0));
    let layer = EarlyHeadLayer::new(AFTER).when(|_: &Parts| {
        || {
            asked.set(asked.get() + 1);
            false
        }
    });
    let service = layer.layer(service_fn(|_: Request<()>| {
        poll_fn(|_| {
            polls.set(polls.get() + 1);
            Poll::<Answer>::Pending
        })
    }));
    let mut call = pin!(service.oneshot(Request::new(())));
    for jump in 1..=100 {
        assert!(timeout(SECOND, call.as_mut()).await.is_err());
        advance(1_000 * AFTER).await;
        assert!(timeout(SECOND, call.as_mut()).await.is_err());
        assert_eq!(asked.get(), jump);
    }
    assert!(polls.get() <= 500, "{} polls", polls.get());
}

#[tokio::test(start_paused = true)]
async fn a_future_that_is_always_busy_can_not_hold_back_the_head() {
    let (request, _) = asking();
    let start = Instant::now();
    // As one that reads an upload that is always ready: it spends its whole budget in each poll.
    let service = service_fn(|_: Request<()>| {
        let mut polls = 0;
        poll_fn(move |cx| {
            polls += 1;
            assert!(polls < 100_000, "the head is held back");
            while let Poll::Ready(budget) = coop::poll_proceed(cx) {
                budget.made_progress();
            }
            Poll::<Answer>::Pending
        })
    });
    // In a task of its own, which has a budget of its own.
    let clock = tokio::spawn(async {
        for _ in 0..100 {
            advance(SECOND / 10).await;
        }
    });
    let response = EarlyHeadLayer::new(AFTER).layer(service).oneshot(request).await.unwrap();
    clock.abort();
    assert_eq!(response.status(), 200);
    assert!(start.elapsed() <= AFTER + SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn no_time_is_a_millisecond_and_for_ever_is_never() {
    let (request, _) = asking();
    let start = Instant::now();
    let none = EarlyHeadLayer::new(Duration::ZERO).layer(service_fn(never));
    assert_eq!(none.oneshot(request).await.unwrap().status(), 200);
    assert_eq!(start.elapsed(), Duration::from_millis(1));

    let (request, _) = asking();
    let ever = EarlyHeadLayer::new(Duration::MAX).layer(answering(LATE, sse(Script::new())));
    assert_eq!(ever.oneshot(request).await.unwrap().headers().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_infallible_service_will_do() {
    let (request, _) = asking();
    let service = service_fn(|_: Request<()>| async {
        sleep(LATE).await;
        let body = http_body_util::Full::<bytes::Bytes>::from("{}");
        Ok::<_, Infallible>(Response::new(body))
    });
    let seen = drain(early(service, request).await).await;
    assert!(seen.error.unwrap().is::<LateHead>());
}
