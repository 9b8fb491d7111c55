//! When a heartbeat is due together with something else (faults.md 51, 52). On paused time.

use std::{convert::Infallible, time::Duration};

use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt;
use testkit::{Script, Wakes, poll_body};
use tokio::time::{Instant, advance};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_lifeline::keepalive::{Heartbeat, IdleKeepaliveBody, IdleKeepaliveLayer};

use super::BEAT;
use crate::stage::sse;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn data_that_is_due_together_with_a_heartbeat_goes_out_and_the_pause_begins_anew() {
    let start = Instant::now();
    let service = ServiceBuilder::new().layer(IdleKeepaliveLayer::new(15 * SECOND)).service(
        service_fn(async |_: Request<Body>| {
            let script = Script::new().sleep(15 * SECOND).data("data: 15\n\n");
            let script = script.sleep(15 * SECOND).data("data: 30\n\n").sleep(20 * SECOND);
            Ok::<Response<_>, Infallible>(sse(script.data("data: 50\n\n")))
        }),
    );
    let mut body = service.oneshot(Request::new(Body::empty())).await.unwrap().into_body();
    let mut seen = Vec::new();
    while let Some(frame) = body.frame().await {
        let text = String::from_utf8(frame.unwrap().into_data().unwrap().into()).unwrap();
        seen.push((start.elapsed().as_secs(), text));
    }
    let expected = [(15, "data: 15\n\n"), (30, "data: 30\n\n"), (45, BEAT), (50, "data: 50\n\n")];
    assert_eq!(seen, expected.map(|(at, text)| (at, text.to_owned())));
}

#[tokio::test(start_paused = true)]
async fn after_an_hour_in_which_nobody_polled_there_is_one_heartbeat_and_not_many() {
    let wakes = Wakes::new();
    let script = Script::new().stall();
    let mut body = std::pin::pin!(IdleKeepaliveBody::new(script, SECOND, Heartbeat::comment()));
    assert!(poll_body(body.as_mut(), &wakes.waker()).is_pending());
    advance(3600 * SECOND).await;
    assert!(poll_body(body.as_mut(), &wakes.waker()).is_ready());
    assert!(poll_body(body.as_mut(), &wakes.waker()).is_pending());
    advance(SECOND / 2).await;
    assert!(poll_body(body.as_mut(), &wakes.waker()).is_pending());
    advance(SECOND / 2 + Duration::from_millis(1)).await;
    assert!(poll_body(body.as_mut(), &wakes.waker()).is_ready());
}
