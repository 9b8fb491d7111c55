//! What an ending says besides its outcome.

use std::time::Duration;

use http::HeaderMap;
use http_body_util::BodyExt;
use testkit::drain;
use tokio::time::sleep;

use super::*;
use crate::exchange::Exchange;

const SECOND: Duration = Duration::from_secs(1);

fn grpc(status: &str) -> HeaderMap {
    HeaderMap::from_iter([("grpc-status".parse().unwrap(), status.parse().unwrap())])
}

#[tokio::test(start_paused = true)]
async fn bytes_frames_and_times_are_counted_to_the_last_one() {
    let (layer, mut told) = telling();
    let mut request = get();
    let exchange = Exchange::of(&mut request);
    let service = layer.layer(service_fn(|_: Request<()>| async {
        sleep(SECOND).await;
        let script = Script::new().sleep(SECOND).data("abc").sleep(2 * SECOND).data("").data("de");
        let script = script.sleep(4 * SECOND).trailers(grpc("5"));
        Ok::<_, ScriptError>(Response::builder().status(201).body(script).unwrap())
    }));
    let body = service.oneshot(request).await.unwrap_or_else(|error| panic!("{error}")).into_body();
    drain(body).await;
    let ending = only(&mut told);
    assert_eq!((ending.bytes, ending.frames), (5, 3));
    assert_eq!(ending.status.unwrap().as_u16(), 201);
    assert_eq!(ending.time_to_head, Some(SECOND));
    assert_eq!(ending.time_to_first_frame, Some(2 * SECOND));
    assert_eq!(ending.since_last_frame, Some(4 * SECOND));
    assert_eq!(ending.elapsed, 8 * SECOND);
    assert_eq!(ending.trailers, Some(grpc("5")));
    assert_eq!(ending.exchange.id(), exchange.id());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_known_is_none() {
    let (layer, mut told) = telling();
    drain(through(&layer, get(), Response::new(Script::new())).await).await;
    let ending = only(&mut told);
    assert_eq!((ending.time_to_first_frame, ending.since_last_frame), (None, None));
    assert_eq!((ending.trailers, ending.grpc_status), (None, None));
    assert_eq!((ending.cause.reason(), ending.cause.error()), (None, None));
}

#[tokio::test]
async fn a_grpc_status_is_read_from_the_trailers_or_from_a_head_that_is_all_there_is() {
    let status = async |head: Option<&str>, trailers: Option<HeaderMap>| {
        let (layer, mut told) = telling();
        let mut script = Script::new().data("x");
        if let Some(trailers) = trailers {
            script = script.trailers(trailers);
        }
        let mut response = Response::new(script);
        response.headers_mut().extend(head.map(grpc).unwrap_or_default());
        drain(through(&layer, get(), response).await).await;
        only(&mut told).grpc_status
    };
    assert_eq!(status(Some("14"), None).await, Some(14)); // truths.md 14.
    assert_eq!(status(None, Some(grpc("0"))).await, Some(0));
    assert_eq!(status(Some("2"), Some(grpc("7"))).await, Some(7));
    assert_eq!(status(Some("2"), Some(HeaderMap::new())).await, Some(2));
    assert_eq!(status(Some("ok"), None).await, None);
    assert_eq!(status(None, None).await, None);
}

#[tokio::test(start_paused = true)]
async fn the_numbers_can_be_read_while_the_response_is_under_way() {
    let (layer, _told) = telling();
    let mut request = get();
    let exchange = Exchange::of(&mut request);
    let script = Script::new().sleep(SECOND).data("abc").sleep(SECOND).data("de");
    let mut body = through(&layer, request, Response::new(script)).await;
    assert_eq!(exchange.progress().time_to_head(), Some(Duration::ZERO));
    assert_eq!((exchange.progress().frames(), exchange.progress().bytes()), (0, 0));
    body.frame().await.unwrap().unwrap();
    assert_eq!((exchange.progress().frames(), exchange.progress().bytes()), (1, 3));
    body.frame().await.unwrap().unwrap();
    assert_eq!((exchange.progress().frames(), exchange.progress().bytes()), (2, 5));
    assert_eq!(exchange.progress().time_to_first_frame(), Some(SECOND));
}

#[tokio::test]
async fn two_layers_of_one_exchange_tell_the_same_and_one_of_them_publishes() {
    let (outer, mut told_outer) = telling();
    let (inner, mut told_inner) = telling();
    let mut request = get();
    let exchange = Exchange::of(&mut request);
    let stack = tower::ServiceBuilder::new().layer(outer).layer(inner);
    let service = stack.service(service_fn(|_: Request<()>| async {
        Ok::<_, ScriptError>(Response::new(Script::new().data("abc").error("boom")))
    }));
    let body = service.oneshot(request).await.unwrap_or_else(|error| panic!("{error}")).into_body();
    drain(body).await;
    for ending in [only(&mut told_outer), only(&mut told_inner)] {
        assert_eq!((ending.outcome.as_str(), ending.bytes, ending.frames), ("failed", 3, 1));
        assert_eq!(ending.error().unwrap().to_string(), "boom: root of boom");
    }
    assert_eq!((exchange.progress().bytes(), exchange.progress().frames()), (3, 1));
}
