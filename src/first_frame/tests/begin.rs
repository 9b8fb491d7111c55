//! When a stream has begun, wherever it was cut.

use tokio::time::Instant;

use super::*;

/// The status of a stream that comes in these pieces, each a second after the other, and how many of them were waited for.
async fn begun_after(
    layer: &FirstFrameLayer<fn(&response::Parts) -> Begin>,
    pieces: &[&str],
) -> (u16, u64) {
    let mut body = Script::new();
    for piece in pieces {
        body = body.sleep(Duration::from_secs(1)).data(piece.to_string());
    }
    let start = Instant::now();
    let response = call(layer, body.stall(), "text/event-stream").await;
    (response.status().as_u16(), start.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn an_event_begins_a_stream_wherever_its_bytes_are_cut() {
    let layer = FirstFrameLayer::by_media();
    for (pieces, after) in [
        (&["data: a\n\n"][..], 1),
        (&["data: a\n", "\n"], 2),
        (&["d", "ata: a\r", "\n\r", "\n"], 3), // The blank line ends with its CR.
        (&["\u{feff}data: a\n\n"], 1),
        (&[": comment\n\n", "retry: 3\n\n", "id: 4\n\n", "event: x\n\n", "data\n\n"], 5),
        (&[PING, "event: pi", "ng\ndata: {}\n\n", PING, "data: {}\n\n"], 5),
        (&[PING, "event: message_start\ndata: {}\n\nevent: error\ndata: {}\n\n"], 2),
    ] {
        assert_eq!(begun_after(&layer, pieces).await, (200, after), "{pieces:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_event_is_a_failure_wherever_its_bytes_are_cut() {
    let layer = FirstFrameLayer::by_media();
    for (pieces, after) in [
        (&[ERROR][..], 1),
        (&["event: err", "or\nda", "ta: {}\n", "\n"], 4),
        (&["data: {\"err", "or\":\"x\"}\n\n"], 2),
        (&[": c\n\n", PING, "data: {\"type\":\"error\"}\n\n"], 3),
        (&["event: error\ndata: {}\n\ndata: more\n\n"], 1),
    ] {
        assert_eq!(begun_after(&layer, pieces).await, (502, after), "{pieces:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_byte_begins_a_stream_and_an_empty_frame_does_not() {
    let layer = FirstFrameLayer::new((|_| Begin::any_byte()) as fn(&response::Parts) -> Begin);
    assert_eq!(begun_after(&layer, &["", "", ":"]).await, (200, 3));
    assert_eq!(begun_after(&layer, &[ERROR]).await, (200, 1)); // Whatever it says.
}

#[tokio::test]
async fn what_is_waited_for_depends_on_what_the_body_is_made_of() {
    for (content_type, begins) in [
        ("text/event-stream", false),
        ("text/event-stream; charset=utf-8", false),
        ("application/x-ndjson", true),
        ("application/json", true),
        ("application/grpc", true),
    ] {
        let head = Response::builder().header(header::CONTENT_TYPE, content_type);
        let mut begin = Begin::by_media(&head.body(()).unwrap().into_parts().0);
        assert_eq!(begin.see(&":".into()).is_some(), begins, "{content_type}");
    }
    // Compressed events can not be read, so any byte begins.
    let head = Response::builder()
        .header("content-type", "text/event-stream")
        .header("content-encoding", "br");
    let mut begin = Begin::by_media(&head.body(()).unwrap().into_parts().0);
    assert!(begin.see(&":".into()).is_some());
}

#[tokio::test]
async fn a_predicate_of_ones_own_sees_all_bytes_so_far_after_each_frame() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let layer = FirstFrameLayer::new({
        let seen = seen.clone();
        move |_: &response::Parts| {
            let seen = seen.clone();
            Begin::when(move |so_far| {
                seen.lock().unwrap().push(String::from_utf8(so_far.to_vec()).unwrap());
                if so_far.ends_with(b"ok") { Verdict::Begun } else { Verdict::Wait }
            })
        }
    });
    let body = Script::new().data("a").pending().data("").data("b-o").data("k").data("not asked");
    let response = call(&layer, body, "text/plain").await;
    assert_eq!(*seen.lock().unwrap(), ["a", "a", "ab-o", "ab-ok"]);
    assert_eq!(read(response).await.frames, ["a", "", "b-o", "k", "not asked"]);
}

#[tokio::test]
async fn each_response_has_a_predicate_of_its_own_made_from_its_head() {
    let layer = FirstFrameLayer::new(|head: &response::Parts| {
        assert_eq!(head.headers[header::CONTENT_TYPE], "text/x");
        let mut calls = 0;
        Begin::when(move |_| {
            calls += 1;
            if calls == 2 { Verdict::Begun } else { Verdict::Wait }
        })
    });
    for _ in 0..2 {
        let body = Script::new().data("a").data("b").error("boom");
        let body = read(call(&layer, body, "text/x").await).await;
        assert_eq!((body.frames.len(), body.error.unwrap().to_string()), (2, "boom".into()));
    }
}

#[tokio::test]
async fn an_event_that_is_larger_than_what_a_decoder_reads_has_begun() {
    let layer = FirstFrameLayer::by_media().limits(usize::MAX, Duration::from_secs(10));
    let body = Script::new().data(format!("data: {}", "x".repeat(2_000_000))).stall();
    assert_eq!(call(&layer, body, "text/event-stream").await.status(), 200);
}
