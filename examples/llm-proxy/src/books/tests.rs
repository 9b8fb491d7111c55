use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, request::Parts};
use serde_json::{Value, json};
use testkit::{Script, drain};
use tokio::time::sleep;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_lifeline::{
    abort::{AbortHandle, AbortKind, AbortLayer, AbortRegistry},
    finalize::FinalizeLayer,
};

use super::{Books, ENDINGS};
use crate::{capture, choices, label::LabelLayer, testing::soon};

/// The part of the proxy's stack that keeps the books, around `answer`.
fn proxy<F, T>(
    books: Books,
    handle: impl Fn(&Parts) -> AbortHandle + Clone + Send + 'static,
    answer: F,
) -> impl Service<
    Request<()>,
    Response = Response<impl http_body::Body<Data = Bytes, Error: std::fmt::Debug>>,
    Error = Infallible,
> + Clone
where
    F: Fn(Request<()>) -> T + Clone + Send + 'static,
    T: Future<Output = Response<Script>> + Send + 'static,
{
    ServiceBuilder::new()
        .layer(LabelLayer { replays: false })
        .layer(AbortLayer::new(handle).answer(choices::aborted(&books)))
        .layer(FinalizeLayer::with(move |request| books.open(request)))
        .layer(capture::layer(Some(8), &capture::total(None)))
        .service(service_fn(move |request| {
            let answer = answer(request);
            async { Ok::<_, Infallible>(answer.await) }
        }))
}

fn get(path: &str) -> Request<()> {
    Request::get(path).body(()).unwrap()
}

fn rows(books: &Books) -> Vec<Value> {
    books.endings(usize::MAX).iter().map(|row| serde_json::to_value(&**row).unwrap()).collect()
}

fn streams(books: &Books) -> Vec<Value> {
    books.streams().iter().map(|stream| serde_json::to_value(stream).unwrap()).collect()
}

/// The row of an answer that is read to its end.
async fn ending_of(answer: Response<Script>) -> Value {
    let books = Books::default();
    let answer = Mutex::new(Some(answer));
    let answer = Arc::new(answer);
    let service = proxy(
        books.clone(),
        |_| AbortHandle::new(),
        move |_| {
            let answer = answer.lock().unwrap().take().unwrap();
            async { answer }
        },
    );
    soon(drain(service.oneshot(get("/")).await.unwrap().into_body())).await;
    let [row] = &rows(&books)[..] else { panic!("not one ending: {:?}", rows(&books)) };
    row.clone()
}

#[tokio::test(start_paused = true)]
async fn an_ending_says_what_was_asked_and_answered_and_how_long_it_took() {
    let books = Books::default();
    let service = proxy(
        books.clone(),
        |_| AbortHandle::new(),
        |_| async {
            sleep(Duration::from_millis(10)).await;
            let pause = Duration::from_millis(20);
            let body = Script::new().sleep(pause).data("one").data("two").sleep(pause);
            Response::builder().status(202).body(body).unwrap()
        },
    );
    let response = service.oneshot(Request::put("/a%20b?secret=1").body(()).unwrap()).await;
    let id = response.as_ref().unwrap().headers()["x-exchange-id"].to_str().unwrap().to_owned();
    soon(drain(response.unwrap().into_body())).await;
    let expected = json!({
        "id": id, "method": "PUT", "path": "/a%20b", "status": 202,
        "outcome": "completed", "reason": null, "bytes": 6, "frames": 2,
        "head_ms": 10, "first_frame_ms": 30, "elapsed_ms": 50,
        "terminator": "none", "drained": null, "usage": null, "capture_truncated": false,
    });
    assert_eq!(rows(&books), [expected]);
}

#[tokio::test(start_paused = true)]
async fn a_live_exchange_is_listed_from_its_request_to_its_end() {
    let books = Books::default();
    let service = proxy(
        books.clone(),
        |_| AbortHandle::new(),
        |_| async {
            sleep(Duration::from_millis(10)).await;
            Response::new(Script::new().data("one").data("two").stall())
        },
    );
    let mut answer = Box::pin(service.oneshot(get("/x?secret=1")));
    assert!(is_pending(&mut answer).await);
    sleep(Duration::from_millis(5)).await;
    let [stream] = &streams(&books)[..] else { panic!("{:?}", streams(&books)) };
    let mut expected = json!({
        "id": stream["id"], "method": "GET", "path": "/x", "status": null,
        "age_ms": 5, "idle_ms": 5, "bytes": 0, "frames": 0, "draining": false,
    });
    assert_eq!(*stream, expected);

    let response = answer.await.unwrap();
    assert_eq!(response.headers()["x-exchange-id"], stream["id"].as_str().unwrap());
    let mut body = Box::pin(response.into_body());
    let waker = testkit::Wakes::new().waker();
    for _ in 0..3 {
        let _ = testkit::poll_body(body.as_mut(), &waker);
    }
    sleep(Duration::from_millis(7)).await;
    for (field, value) in [("age_ms", 17), ("idle_ms", 7), ("bytes", 6), ("frames", 2)] {
        expected[field] = value.into();
    }
    expected["status"] = 200.into();
    assert_eq!(streams(&books), [expected]);

    drop(body);
    assert_eq!(streams(&books), Vec::<Value>::new());
    assert_eq!(rows(&books)[0]["outcome"], "disconnected");
}

async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    tokio::select! {
        biased;
        _ = future => false,
        () = std::future::ready(()) => true,
    }
}

#[tokio::test]
async fn an_answer_that_broke_off_has_failed() {
    let row = ending_of(Response::new(Script::new().data("half").error("reset"))).await;
    assert_eq!((&row["outcome"], &row["reason"]), (&json!("failed"), &Value::Null));
    assert_eq!((&row["status"], &row["bytes"]), (&json!(200), &json!(4)));
}

#[tokio::test]
async fn an_answer_that_ends_before_its_length_is_truncated() {
    let short = Response::builder().header("content-length", 10).body(Script::new().data("half"));
    let row = ending_of(short.unwrap()).await;
    assert_eq!(row["outcome"], "truncated");
    assert_eq!(row["bytes"], 4);
}

#[tokio::test]
async fn a_capture_that_did_not_fit_is_marked() {
    let row = ending_of(Response::new(Script::new().data("12345678"))).await;
    assert_eq!(row["capture_truncated"], false);
    let row = ending_of(Response::new(Script::new().data("123456789"))).await;
    assert_eq!(row["capture_truncated"], true);
    assert_eq!(row["bytes"], 9);
}

#[tokio::test]
async fn a_client_that_left_before_the_head_was_given_no_status() {
    let books = Books::default();
    let service = proxy(books.clone(), |_| AbortHandle::new(), |_| std::future::pending());
    let mut answer = Box::pin(service.oneshot(get("/")));
    assert!(is_pending(&mut answer).await);
    drop(answer);
    let [row] = &rows(&books)[..] else { panic!("{:?}", rows(&books)) };
    assert_eq!(row["outcome"], "disconnected");
    for field in ["status", "reason", "head_ms", "first_frame_ms"] {
        assert_eq!(row[field], Value::Null, "{field}");
    }
}

/// What the client was given, and the one row, of an exchange that is aborted as `service` likes.
async fn turned_away<S, B>(service: S, books: &Books) -> (StatusCode, Value)
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
{
    let response = soon(service.oneshot(get("/v1/messages"))).await.unwrap();
    let id = response.headers()["x-exchange-id"].to_str().unwrap().to_owned();
    let status = response.status();
    drop(response);
    assert_eq!(streams(books), Vec::<Value>::new());
    let [row] = &rows(books)[..] else { panic!("not one ending: {:?}", rows(books)) };
    assert_eq!(row["id"], id);
    assert_eq!(row["path"], "/v1/messages");
    assert_eq!(row["outcome"], "aborted");
    (status, row.clone())
}

#[tokio::test]
async fn an_exchange_aborted_before_its_call_has_one_ending() {
    let (books, registry) = (Books::default(), AbortRegistry::new());
    registry.root().abort(AbortKind::Shutdown);
    let service =
        proxy(books.clone(), choices::handle(&registry), |_| async { panic!("it was called") });
    let (status, row) = turned_away(service, &books).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((&row["status"], &row["reason"]), (&json!(503), &json!("shutdown")));
    assert_eq!((&row["bytes"], &row["head_ms"]), (&json!(0), &Value::Null));
}

#[tokio::test]
async fn an_exchange_aborted_before_its_head_has_one_ending() {
    let (books, registry) = (Books::default(), AbortRegistry::new());
    let aborter = registry.clone();
    let service = proxy(books.clone(), choices::handle(&registry), move |_| {
        let aborter = aborter.clone();
        async move {
            assert_eq!(aborter.abort_all("stop"), 1);
            std::future::pending().await
        }
    });
    let (status, row) = turned_away(service, &books).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((&row["status"], &row["reason"]), (&json!(503), &json!("stop")));
}

#[tokio::test]
async fn an_abort_at_the_moment_of_the_head_is_told_with_the_status_that_the_client_got() {
    let (books, registry) = (Books::default(), AbortRegistry::new());
    let aborter = registry.clone();
    let service = proxy(books.clone(), choices::handle(&registry), move |_| {
        let aborter = aborter.clone();
        async move {
            assert_eq!(aborter.abort_all("stop"), 1);
            Response::new(Script::new().data("never seen"))
        }
    });
    let (status, row) = turned_away(service, &books).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((&row["status"], &row["reason"]), (&json!(503), &json!("stop")));
}

#[tokio::test]
async fn the_last_ten_thousand_endings_are_kept_the_newest_first() {
    assert_eq!(ENDINGS, 10_000);
    let books = Books::default();
    let service =
        proxy(books.clone(), |_| AbortHandle::new(), |_| async { Response::new(Script::new()) });
    let mut ids: Vec<Arc<str>> = Vec::new();
    for _ in 0..=ENDINGS {
        let response = service.clone().oneshot(get("/")).await.unwrap();
        ids.push(response.headers()["x-exchange-id"].to_str().unwrap().into());
    }
    let kept = books.endings(usize::MAX);
    assert!(kept.iter().map(|row| &row.id).eq(ids[1..].iter().rev()));
    assert!(books.endings(2).iter().map(|row| &row.id).eq(ids.iter().rev().take(2)));
    assert!(!books.knows(&ids[0]));
    assert!(books.knows(&ids[1]));
}
