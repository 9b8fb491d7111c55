//! Listeners: an abort that came too early is lost, one that came is reported as something else, and a handle that lives for
//! a million requests keeps a listener of each.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll::Ready,
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use testkit::{H1, How, Play, Script, Upstream, dechunk};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_lifeline::{
    abort::{AbortHandle, AbortLayer, Aborted},
    error::BoxError,
    exchange::{Exchange, Outcome},
    final_frame::FinalFrameLayer,
    timeouts::{self, TimedOut},
};

use crate::{
    client::{Answer, Over, Wire},
    server::{
        Does, Heart, LIMIT, MOMENT, Run, aborted_event, answering, endings, proxy, serve, sse,
        typed,
    },
};

const ONE: &str = "data: one\n\n";

#[tokio::test]
async fn an_abort_before_the_call_does_not_call_the_upstream_at_all() {
    for wire in Wire::BOTH {
        let upstream = Upstream::start([Play::new().head_sse().chunk(ONE).last_chunk()]).await;
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let run = Run::of(proxy(upstream.addr()).map_request(move |request| {
            counted.fetch_add(1, Ordering::SeqCst);
            request
        }))
        .await;
        assert!(run.handle.abort("closing time"));
        let mut answer = Answer::get(wire, run.addr).await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.rest().await, ("aborted: closing time\n".to_owned(), Over::Clean));
        tokio::time::sleep(MOMENT).await;
        assert_eq!(calls.load(Ordering::SeqCst), 0, "{wire:?}");
        assert!(upstream.conns().is_empty(), "{wire:?}: somebody connected");
    }
}

/// Asks under a handle that the heart aborts.
async fn aborted_by<S, B>(wire: Wire, handle: AbortHandle, heart: S) -> (u16, String)
where
    S: Heart<B, Error: Into<BoxError> + Send>,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let layer = AbortLayer::new(move |_| handle.clone());
    let mut answer = Answer::get(wire, serve(layer.layer(heart)).await).await;
    (answer.status, answer.rest().await.0)
}

#[tokio::test]
async fn an_abort_between_the_look_at_the_handle_and_its_listener_is_not_lost() {
    for wire in Wire::BOTH {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let heart = answering(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            Response::new(Script::new().stall())
        });
        // Whoever gives out the handle is not at its end when the abort comes.
        let layer = AbortLayer::new(|_| {
            let handle = AbortHandle::new();
            let given = handle.clone();
            assert!(!given.is_aborted());
            handle.abort("just now");
            given
        });
        let mut answer = Answer::get(wire, serve(layer.layer(heart)).await).await;
        assert_eq!((answer.status, &*answer.rest().await.0), (503, "aborted: just now\n"));
        assert_eq!(calls.load(Ordering::SeqCst), 0, "{wire:?}");
    }
}

#[tokio::test]
async fn an_abort_during_the_call_or_between_the_head_and_the_body_is_not_lost() {
    for wire in Wire::BOTH {
        // In the call itself, before there is a future to drop.
        let handle = AbortHandle::new();
        let own = handle.clone();
        let in_call = service_fn(move |_: Request<Body>| {
            own.abort("in the call");
            std::future::pending::<Result<Response<Script>, BoxError>>()
        });
        let got = aborted_by(wire, handle, in_call).await;
        assert_eq!(got, (503, "aborted: in the call\n".to_owned()), "{wire:?}");

        // In the poll that gives the head: the future is gone, and the body is not there yet.
        let handle = AbortHandle::new();
        let own = handle.clone();
        let at_head = service_fn(move |_: Request<Body>| {
            let own = own.clone();
            async move {
                own.abort("at the head");
                Ok::<_, BoxError>(Response::new(Script::new().data(ONE).stall()))
            }
        });
        let got = aborted_by(wire, handle, at_head).await;
        assert_eq!(got, (503, "aborted: at the head\n".to_owned()), "{wire:?}");
    }
}

/// Every one of these has nobody but its abort to end it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_aborts_that_race_with_their_requests_none_is_lost() {
    let (give, mut given) = tokio::sync::mpsc::unbounded_channel::<AbortHandle>();
    let layer = AbortLayer::new(move |_| {
        let handle = AbortHandle::new();
        give.send(handle.clone()).unwrap();
        handle
    });
    let heart =
        service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Script>, BoxError>>());
    let addr = serve(layer.layer(heart)).await;
    let aborting = tokio::spawn(async move {
        for n in 0..1000 {
            let handle = given.recv().await.unwrap();
            for _ in 0..(n % 60) * 20 {
                std::hint::spin_loop();
            }
            assert!(handle.abort("race"));
        }
    });
    let mut client = H1::connect(addr).await.unwrap();
    for _ in 0..1000 {
        client.get("/").await.unwrap();
        assert_eq!(client.read_head(LIMIT).await.unwrap().status(), Some(503));
        client.read_until(|body| body == b"aborted: race\n", LIMIT).await.unwrap();
        client.take();
    }
    aborting.await.unwrap();
}

/// The handle of the process, and no other, is behind all of these requests.
#[tokio::test]
async fn a_handle_that_lives_for_many_thousand_requests_does_not_grow() {
    let shutdown = AbortHandle::new();
    let given = shutdown.clone();
    let (tell, mut endings) = endings();
    let stack = ServiceBuilder::new()
        .layer(FinalFrameLayer::by_media())
        // Some are bound to the handle itself, and some to a child of their own.
        .layer(AbortLayer::new(move |request| match request.uri.path() {
            "/child" | "/self" => given.child(),
            _ => given.clone(),
        }))
        .layer(tell.layer())
        .service(service_fn(|request: Request<Body>| async move {
            let exchange = Exchange::get(request.extensions()).unwrap();
            let script = Script::new().data(ONE);
            let script = match request.uri().path() {
                "/fails" => return Err(io::Error::other("refused")),
                "/broken" => script.error("boom"),
                "/self" => {
                    tokio::spawn(async move { exchange.abort("by itself") });
                    script.stall()
                }
                "/left" => script.stall(),
                _ => script,
            };
            Ok(sse(script))
        }));
    let addr = serve(stack.clone()).await;

    let mut client = H1::connect(addr).await.unwrap();
    for n in 0..3000 {
        client.get(["/", "/child", "/fails", "/broken", "/self"][n % 5]).await.unwrap();
        let head = client.read_head(LIMIT).await.unwrap();
        let over = |raw: &[u8]| match head.header("content-length") {
            Some(length) => raw.len() == length.parse::<usize>().unwrap(),
            None => dechunk(raw).complete,
        };
        client.read_until(over, LIMIT).await.unwrap();
        client.take();
        endings.next().await;
        assert_eq!(shutdown.dependents(), 0, "after request {n}");
    }
    for _ in 0..300 {
        let mut answer = Answer::get_path(Wire::BOTH[0], addr, "/left").await;
        answer.read_to(ONE).await;
        assert_eq!(shutdown.dependents(), 1);
        drop(answer);
        assert_eq!(endings.next().await.outcome, Outcome::Disconnected);
        assert_eq!(shutdown.dependents(), 0);
    }
    // And without sockets, for their number.
    for n in 0..50_000 {
        let path = ["/", "/child", "/fails", "/broken"][n % 4];
        let request = Request::get(path).body(Body::empty()).unwrap();
        if let Ok(response) = stack.clone().oneshot(request).await {
            let _ = response.into_body().collect().await;
        }
        endings.next().await;
        assert_eq!(shutdown.dependents(), 0, "after request {n}");
    }
    assert!(!shutdown.is_aborted());
}

#[tokio::test]
async fn after_an_abort_an_error_of_any_class_is_reported_as_that_abort() {
    type Make = fn() -> BoxError;
    let classes: [Make; 4] = [
        || io::Error::from(io::ErrorKind::ConnectionReset).into(),
        || "a text".into(),
        || h2::Error::from(h2::Reason::CANCEL).into(),
        || TimedOut::new(timeouts::Limit::Idle, Duration::from_secs(180)).into(),
    ];
    for make in classes {
        for wire in Wire::BOTH {
            // In the place of a head.
            let service = service_fn(move |request: Request<Body>| async move {
                let exchange = Exchange::get(request.extensions()).unwrap();
                exchange.abort("stop");
                Err::<Response<Script>, _>(make())
            });
            let mut run = Run::of(service).await;
            let mut answer = Answer::get(wire, run.addr).await;
            assert_eq!((answer.status, &*answer.rest().await.0), (503, "aborted: stop\n"));
            assert_aborted(&mut run).await;

            // In the stream.
            let mut run = Run::of(answering(move |exchange| sse(fails(exchange, make)))).await;
            let got = Answer::get(wire, run.addr).await.rest().await;
            assert_eq!(got, (format!("{ONE}{}", aborted_event("stop")), Over::Clean), "{wire:?}");
            assert_aborted(&mut run).await;
        }

        // In the process, to a reader that has this layer alone.
        let layer = AbortLayer::new(|_| AbortHandle::new());
        let alone = layer.layer(answering(move |exchange| sse(fails(exchange, make))));
        let response = alone.oneshot(Request::new(Body::empty())).await.unwrap();
        let mut body = response.into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), ONE);
        let error = body.frame().await.unwrap().unwrap_err();
        assert_eq!(error.downcast_ref::<Aborted>().unwrap().reason().text(), "stop");
    }
}

/// A stream that is aborted and then fails, in one poll.
fn fails(
    exchange: Exchange,
    make: fn() -> BoxError,
) -> impl http_body::Body<Data = Bytes, Error = BoxError> + Send + 'static {
    let mut given = false;
    Does(move || {
        if !std::mem::replace(&mut given, true) {
            return Ready(Some(Ok(ONE.into())));
        }
        exchange.abort("stop");
        Ready(Some(Err(make())))
    })
}

async fn assert_aborted(run: &mut Run) {
    let ending = run.endings.only().await;
    assert_eq!((ending.outcome, ending.reason()), (Outcome::Aborted, Some("stop")));
    assert!(ending.error().is_none(), "{ending:?}");
}

/// The bytes on the wire, head and all, are those of a server without any of our layers.
#[tokio::test]
async fn a_run_that_nobody_aborts_is_as_it_was_before() {
    let answers = |path: &str| match path {
        "/json" => typed("application/json", Body::from("{\"ok\":true}")),
        "/empty" => Response::builder().status(204).body(Body::empty()).unwrap(),
        "/missing" => Response::builder().status(404).body(Body::from("no")).unwrap(),
        _ => sse(Body::new(Script::new().data(ONE).pending().data("data: [DONE]\n\n"))),
    };
    let heart = service_fn(move |request: Request<Body>| {
        let response = answers(request.uri().path());
        async { Ok::<_, BoxError>(response) }
    });
    let bare = serve(heart).await;
    let run = Run::of(heart).await;
    for request in ["GET /sse", "GET /json", "HEAD /json", "GET /empty", "GET /missing"] {
        let mut seen = Vec::new();
        for addr in [bare, run.addr] {
            let mut client = H1::connect(addr).await.unwrap();
            let head = "HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
            client.send(format!("{request} {head}")).await.unwrap();
            let end = client.read_to_end(LIMIT).await;
            assert_eq!(end.how, How::Fin);
            let all = String::from_utf8(end.bytes).unwrap();
            let lines = all.split_inclusive("\r\n").filter(|line| !line.starts_with("date: "));
            seen.push(lines.collect::<String>());
        }
        assert!(seen[0].starts_with("HTTP/1.1 "), "{seen:?}");
        assert_eq!(seen[0], seen[1], "{request}");
    }
    assert_eq!(run.handle.dependents(), 0);
}
