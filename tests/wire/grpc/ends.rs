//! How a call ends by itself.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::HeaderMap;
use testkit::{Gate, H2Next, Script};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{Code, Status};
use tower_lifeline::exchange::Outcome;

use super::{
    Stage, message, raw, read,
    service::{Answer, call},
};
use crate::server::{AT_ONCE, LIMIT, median_of_five};

fn status(code: &'static str) -> HeaderMap {
    HeaderMap::from_iter([("grpc-status".parse().unwrap(), code.parse().unwrap())])
}

#[tokio::test]
async fn a_stream_that_ends_is_completed_with_the_status_of_its_trailers() {
    let messages = || Answer::messages(tokio_stream::iter(["one", "two"]).map(|m| Ok(m.into())));
    let mut stage = Stage::start(messages).await;
    let seen = read(&stage).await;
    assert_eq!(seen, (vec!["one".into(), "two".into()], Code::Ok, String::new()));
    let ending = stage.endings.next(LIMIT).await;
    assert_eq!((ending.outcome, ending.grpc_status), (Outcome::Completed, Some(0)));
    assert_eq!(ending.trailers.unwrap()["grpc-status"], "0");
    assert_eq!(*stage.at_end.lock().unwrap(), [false]);
}

#[tokio::test]
async fn a_handler_that_fails_in_its_stream_has_the_status_that_it_says() {
    let half = || {
        let data_loss = Err(Status::data_loss("the other half"));
        Answer::messages(tokio_stream::iter([Ok("one".into()), data_loss]))
    };
    let mut stage = Stage::start(half).await;
    let seen = read(&stage).await;
    assert_eq!(seen, (vec!["one".into()], Code::DataLoss, "the other half".into()));
    let ending = stage.endings.next(LIMIT).await;
    assert_eq!((ending.outcome, ending.grpc_status), (Outcome::Completed, Some(15)));
}

#[tokio::test]
async fn a_handler_that_fails_before_its_stream_has_its_status_in_the_head_and_no_body() {
    let mut stage = Stage::start(|| Answer::Refuse(Status::not_found("no such thing"))).await;
    let seen = read(&stage).await;
    assert_eq!(seen, (vec![], Code::NotFound, "no such thing".into()));
    let ending = stage.endings.next(LIMIT).await;
    assert_eq!((ending.outcome, ending.grpc_status), (Outcome::Completed, Some(5)));
    assert_eq!((ending.frames, ending.trailers), (0, None));
    assert_eq!(*stage.at_end.lock().unwrap(), [true], "the layers hid the end of the stream");
}

#[tokio::test]
async fn a_client_that_drops_its_stream_is_reported_at_once_and_its_handler_is_dropped() {
    let took = median_of_five(async || {
        let (send, receive) = mpsc::channel(1);
        let stream = Arc::new(Mutex::new(Some(receive)));
        let stage = Stage::start(move || {
            Answer::messages(ReceiverStream::new(stream.lock().unwrap().take().unwrap()))
        });
        let mut stage = stage.await;
        send.send(Ok("one".into())).await.unwrap();
        let mut stream = call(stage.addr()).await.unwrap();
        assert_eq!(stream.next().await.unwrap(), "one");

        let start = Instant::now();
        drop(stream);
        timeout(LIMIT, send.closed()).await.expect("the handler lives on");
        let ending = stage.endings.next(LIMIT).await;
        assert_eq!((ending.outcome, ending.grpc_status), (Outcome::Disconnected, None));
        start.elapsed()
    });
    let took = took.await;
    assert!(took <= AT_ONCE, "{took:?}");
}

#[tokio::test]
async fn a_client_that_drops_its_call_before_the_head_is_reported() {
    let mut stage = Stage::start(|| Answer::Never).await;
    let addr = stage.addr();
    let calling = tokio::spawn(async move { drop(call(addr).await) });
    stage.endings.none_within(Duration::from_millis(100)).await;
    calling.abort();
    let ending = stage.endings.next(LIMIT).await;
    assert_eq!((ending.outcome, ending.status), (Outcome::Disconnected, None));
}

#[tokio::test]
async fn a_heartbeat_is_never_put_into_a_grpc_stream() {
    let gate = Gate::new();
    let opened = gate.clone();
    let whole = [message("one"), message("two")].concat();
    let stage = Stage::start(move || {
        // Once between two messages and once within one.
        let two = message("two");
        let script = Script::new().data(message("one")).sleep(Duration::from_millis(50));
        let script = script.data(two.slice(..6)).wait(&opened).data(two.slice(6..));
        Answer::bytes(script.trailers(status("0")))
    });
    let stage = stage.await;
    let (_client, _, mut body) = raw(stage.addr()).await;
    let opening = async {
        sleep(Duration::from_millis(100)).await;
        gate.open();
    };
    let (rest, ()) = tokio::join!(body.rest(LIMIT), opening);
    assert_eq!(rest, (whole, H2Next::Trailers(status("0"))));
}

#[tokio::test]
async fn a_panic_in_the_stream_is_status_13_without_its_message_and_loses_none_before_it() {
    let mut stage = Stage::start(|| {
        let numbers = tokio_stream::iter(0..2).throttle(Duration::from_millis(10));
        Answer::messages(numbers.map(|n| match n {
            0 => Ok("one".into()),
            _ => panic!("the secret word"),
        }))
    })
    .await;
    let seen = read(&stage).await;
    assert_eq!(seen, (vec!["one".into()], Code::Internal, "internal error".into()));
    let ending = stage.endings.next(LIMIT).await;
    assert_eq!((ending.outcome, ending.reason()), (Outcome::Panicked, Some("the secret word")));
}

#[tokio::test]
async fn a_body_that_fails_between_two_messages_is_status_14_without_its_error() {
    let answer = || Answer::bytes(Script::new().data(message("one")).error("boom"));
    let mut stage = Stage::start(answer).await;
    let (messages, code, text) = read(&stage).await;
    assert_eq!((messages, code), (vec!["one".into()], Code::Unavailable));
    assert_eq!(text, "the upstream failed");
    let ending = stage.endings.next(LIMIT).await;
    assert_eq!(ending.outcome, Outcome::Failed);
    assert!(ending.error().unwrap().to_string().contains("boom"), "{ending:?}");
}

#[tokio::test]
async fn all_that_a_trailers_only_response_says_passes_unchanged() {
    let answer = || Answer::Refuse(Status::with_details(Code::Aborted, "later", "{}".into()));
    let stage = Stage::start(answer).await;
    let Err(status) = call(stage.addr()).await else { panic!("the call has a stream") };
    let seen = (status.code(), status.message(), status.details());
    assert_eq!(seen, (Code::Aborted, "later", &b"{}"[..]));
}
