//! A call under a handle, from before it is made to its end.

use std::{
    future::{pending, poll_fn},
    pin::pin,
};

use http::{Method, Request, Response};
use http_body_util::BodyExt;
use testkit::{Event, Log, Script, ScriptError, Wakes, drain};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use super::*;
use crate::{
    abort::AbortLayer,
    cut::Slot,
    exchange::{Exchange, Outcome},
};

type Head = Result<Response<Script>, ScriptError>;

fn under(
    handle: &AbortHandle,
) -> AbortLayer<impl Fn(&http::request::Parts) -> AbortHandle + Clone + use<>> {
    let handle = handle.clone();
    AbortLayer::new(move |_| handle.clone())
}

fn ok() -> Head {
    Ok(Response::new(Script::new().data("x").stall()))
}

#[tokio::test]
async fn before_the_head_the_inner_future_is_dropped_without_a_poll_and_the_caller_is_woken() {
    let (handle, log, wakes) = (AbortHandle::new(), Log::new(), Wakes::new());
    let logged = log.clone();
    let service = under(&handle).layer(service_fn(move |_: Request<()>| {
        let body = Script::new().log_into(&logged);
        async move {
            let _held = body;
            pending::<Head>().await
        }
    }));
    let mut call = pin!(service.oneshot(Request::new(())));
    assert!(call.as_mut().poll(&mut Context::from_waker(&wakes.waker())).is_pending());
    assert!(handle.abort("stop"));
    log.dropped().await;
    assert_eq!(wakes.count(), 1);
    assert_eq!(call.await.unwrap().status(), 503);
    assert_eq!(handle.dependents(), 0);
}

#[tokio::test]
async fn an_abort_before_the_first_poll_finds_the_future_too() {
    let handle = AbortHandle::new();
    let mut service = under(&handle).layer(service_fn(|_: Request<()>| async { ok() }));
    let call = service.ready().await.unwrap().call(Request::new(()));
    assert_eq!(handle.dependents(), 1);
    assert!(handle.abort("stop"));
    assert_eq!(call.await.unwrap().status(), 503);
}

/// The service aborts its own handle, in its call or in its future, and gives this.
async fn aborting(in_call: bool, gives: fn() -> Option<Head>) -> (u16, Outcome) {
    let handle = AbortHandle::new();
    let service = under(&handle).layer(service_fn(move |_: Request<()>| {
        if in_call {
            assert!(handle.abort("stop"));
        }
        let handle = handle.clone();
        async move {
            assert_ne!(handle.abort("stop"), in_call);
            match gives() {
                Some(head) => head,
                None => pending().await,
            }
        }
    }));
    let mut request = Request::new(());
    let exchange = Exchange::of(&mut request);
    let status = service.oneshot(request).await.unwrap().status().as_u16();
    (status, exchange.cause().unwrap().outcome())
}

#[tokio::test]
async fn whatever_the_service_says_after_the_abort_it_was_the_abort() {
    let switch = || Some(Ok(Response::builder().status(101).body(Script::new()).unwrap()));
    let gives: [fn() -> Option<Head>; 4] =
        [|| Some(ok()), || Some(Err(ScriptError::new("boom"))), || None, switch];
    for gives in gives {
        assert_eq!(aborting(false, gives).await, (503, Outcome::Aborted));
        assert_eq!(aborting(true, gives).await, (503, Outcome::Aborted));
    }
}

#[tokio::test]
async fn an_error_of_the_service_is_its_own_otherwise_and_the_handle_forgets_the_call() {
    let handle = AbortHandle::new();
    let service = under(&handle).layer(service_fn(|_: Request<()>| async {
        Err::<Response<Script>, _>(ScriptError::new("refused"))
    }));
    assert_eq!(service.oneshot(Request::new(())).await.unwrap_err().to_string(), "refused");
    assert_eq!((handle.dependents(), handle.abort("late")), (0, false));
}

#[tokio::test]
async fn in_the_stream_the_body_is_dropped_and_the_next_poll_says_why() {
    let (handle, log) = (AbortHandle::new(), Log::new());
    let logged = log.clone();
    let service = under(&handle).layer(service_fn(move |_: Request<()>| {
        let body = Script::new().data("x").stall().log_into(&logged);
        async {
            Ok::<_, ScriptError>(
                Response::builder().status(201).header("x-a", "1").body(body).unwrap(),
            )
        }
    }));
    let response = service.oneshot(Request::new(())).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-a"]),
        (201, &"1".parse().unwrap())
    );
    let mut body = response.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "x");
    assert!(handle.abort("stop"));
    log.dropped().await;
    assert_eq!(reason(&drain(&mut body).await.error.unwrap()), "stop");
    assert!(body.frame().await.is_none());
    assert_eq!(handle.dependents(), 0);
}

#[tokio::test]
async fn an_exchange_can_be_aborted_by_itself() {
    let handle = AbortHandle::new();
    let service = under(&handle).layer(service_fn(|_: Request<()>| async { ok() }));
    let mut request = Request::new(());
    let exchange = Exchange::of(&mut request);
    assert!(!exchange.abort("early"), "no layer has seen it yet");
    let mut body = service.oneshot(request).await.unwrap().into_body();
    assert!(exchange.abort("this one"));
    assert!(!handle.abort("all"), "it was the only one");
    assert_eq!(read(&mut body), (Vec::new(), Some("this one".into())));
}

#[tokio::test]
async fn a_layer_that_sees_an_exchange_only_after_its_abort_does_not_call_the_service() {
    let handle = AbortHandle::new();
    let mut request = Request::new(());
    let exchange = Exchange::of(&mut request);
    let outer = exchange.attach(Slot::<()>::new());
    assert!(exchange.abort("stop"));
    let log = Log::new();
    let logged = log.clone();
    let service = under(&handle).layer(service_fn(move |_: Request<()>| {
        logged.note("called");
        async { ok() }
    }));
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "aborted: stop\n");
    assert_eq!((log.story().len(), handle.dependents()), (0, 0));
    drop(outer);
}

#[tokio::test]
async fn of_two_layers_the_first_abort_says_the_reason() {
    let (outer, inner) = (AbortHandle::new(), AbortHandle::new());
    let stack = || {
        let layers = ServiceBuilder::new().layer(under(&outer)).layer(under(&inner));
        layers.service(service_fn(|_: Request<()>| async { ok() }))
    };
    let mut body = stack().oneshot(Request::new(())).await.unwrap().into_body();
    assert!(inner.abort("inner"));
    assert!(!outer.abort("outer"));
    assert_eq!(read(&mut body), (Vec::new(), Some("inner".into())));
}

#[tokio::test]
async fn a_tunnel_is_handed_on_untouched_and_out_of_reach() {
    for (method, status) in [(Method::GET, 101), (Method::CONNECT, 200)] {
        let handle = AbortHandle::new();
        let service = under(&handle).layer(service_fn(move |_: Request<()>| async move {
            let body = Script::new().data("raw").error("boom").exact_size(3);
            Ok::<_, ScriptError>(Response::builder().status(status).body(body).unwrap())
        }));
        let request = Request::builder().method(method).body(()).unwrap();
        let body = service.oneshot(request).await.unwrap().into_body();
        assert_eq!((handle.dependents(), handle.abort("stop")), (0, false));
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(3), false));
        let seen = drain(body).await;
        assert_eq!((&seen.data[..], seen.error.unwrap().to_string()), (&b"raw"[..], "boom".into()));
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_head_takes_the_inner_future_with_it() {
    let (handle, log) = (AbortHandle::new(), Log::new());
    let logged = log.clone();
    let mut service = under(&handle).layer(service_fn(move |_: Request<()>| {
        let body = Script::new().log_into(&logged);
        async move {
            let _held = body;
            pending::<Head>().await
        }
    }));
    let call = service.ready().await.unwrap().call(Request::new(()));
    drop(call);
    assert_eq!(log.story(), [Event::Dropped { panicking: false }]);
    assert_eq!(handle.dependents(), 0);
}

#[tokio::test]
async fn a_panic_of_the_service_goes_on_to_the_caller() {
    let handle = AbortHandle::new();
    let service = under(&handle).layer(service_fn(|request: Request<()>| async move {
        assert_eq!(request.uri().path(), "/other", "boom");
        ok()
    }));
    assert!(
        tokio::spawn(service.oneshot(Request::new(()))).await.is_err_and(|error| error.is_panic())
    );
    assert_eq!(handle.dependents(), 0);
}

#[tokio::test]
async fn polled_after_its_end_a_call_does_nothing() {
    let handle = AbortHandle::new();
    let mut service = under(&handle).layer(service_fn(|_: Request<()>| async { ok() }));
    assert!(format!("{service:?}").starts_with("Abort { inner: ServiceFn"));
    let mut call = pin!(service.ready().await.unwrap().call(Request::new(())));
    assert_eq!(format!("{call:?}"), "AbortFuture { .. }");
    let _body = call.as_mut().await.unwrap();
    let again = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())).await;
    assert!(again);
}

#[cfg(feature = "h2")]
#[tokio::test]
async fn the_reset_code_can_be_chosen_but_not_one_that_makes_a_cut_body_look_complete() {
    use std::error::Error;
    let codes = [
        (h2::Reason::CANCEL, h2::Reason::CANCEL),
        (h2::Reason::ENHANCE_YOUR_CALM, h2::Reason::ENHANCE_YOUR_CALM),
        (h2::Reason::NO_ERROR, h2::Reason::INTERNAL_ERROR), // truths.md 4.
    ];
    for (chosen, expect) in codes {
        let handle = AbortHandle::new();
        let service =
            under(&handle).reset(chosen).layer(service_fn(|_: Request<()>| async { ok() }));
        let body = service.oneshot(Request::new(())).await.unwrap().into_body();
        handle.abort("stop");
        let error = drain(body).await.error.unwrap();
        let source = error.downcast_ref::<Aborted>().unwrap().source().unwrap();
        assert_eq!(source.downcast_ref::<h2::Error>().unwrap().reason(), Some(expect));
    }
}
