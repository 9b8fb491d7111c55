//! Heartbeats that say how far the stream has come.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use testkit::Script;

use super::*;
use crate::keepalive::{Heartbeat, IdleKeepaliveBody};

fn at_id() -> Heartbeat {
    Heartbeat::from_last_event(|last| match last {
        Some(event) => format!(": at {}\n", event.last_event_id()).into(),
        None => ": not begun\n".into(),
    })
}

async fn seen(script: Script, heartbeat: Heartbeat) -> Vec<String> {
    let body = IdleKeepaliveBody::new(script, SECOND, heartbeat);
    let seen = timeline(body).await;
    texts(&seen).into_iter().map(|(at, text)| format!("{at} {text}")).collect()
}

#[tokio::test(start_paused = true)]
async fn each_heartbeat_is_made_of_the_last_event_that_was_handed_on() {
    let pause = Duration::from_millis(1500);
    let script = Script::new().sleep(pause).data("id: 7\ndata: a\n\nid: 8\ndata: b\n\n");
    let script = script.sleep(pause).data("id: 9\nda").sleep(pause).data("ta: c\n\n").sleep(pause);
    let expect = [
        "1 : not begun\n",
        "1.5 id: 7\ndata: a\n\nid: 8\ndata: b\n\n",
        "2.5 : at 8\n",
        "3.5 : at 8\n", // Half of 9 is held back.
        "4.5 id: 9\nda",
        "4.5 ta: c\n\n",
        "5.5 : at 9\n",
    ];
    assert_eq!(seen(script.end(), at_id()).await, expect);
}

#[tokio::test(start_paused = true)]
async fn it_may_be_made_of_the_data_of_the_last_event() {
    let heartbeat = Heartbeat::from_last_event(|last| {
        let data = last.map(|event| event.data().clone()).unwrap_or_default();
        [&b": after "[..], &data, b"\n"].concat().into()
    });
    let script = Script::new().data("data: {\"seq\":3}\n\n: c\n\n").sleep(SECOND).sleep(SECOND / 2);
    let seen = seen(script.end(), heartbeat).await;
    assert_eq!(seen[1], "1 : after {\"seq\":3}\n");
}

#[tokio::test(start_paused = true)]
async fn bytes_that_could_corrupt_and_a_function_that_panics_send_nothing_and_do_not_spin() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let heartbeat =
        Heartbeat::from_last_event(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
            0 => ": no line end".into(),
            1 => panic!("boom"),
            2 => Bytes::new(),
            3 => "event: the\ndata: next\n".into(),
            _ => ": fine\n".into(),
        });
    let script = Script::new().data("data: a\n\n").sleep(Duration::from_millis(5500)).end();
    assert_eq!(seen(script, heartbeat).await, ["0 data: a\n\n", "5 : fine\n"]);
    assert_eq!(calls.load(Ordering::SeqCst), 5);
}
