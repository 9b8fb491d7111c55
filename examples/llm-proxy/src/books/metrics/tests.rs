use std::time::Duration;

use http::Request;
use prometheus_client::metrics::counter::Counter;
use tokio::time::advance;
use tower_lifeline::tee::{Budget, Sink};

use super::reason;
use crate::books::Books;

/// Count and sum of the silences so far.
fn gaps(books: &Books) -> [f64; 2] {
    let (_, text) = books.metrics(&Budget::new(0), &Counter::default(), true);
    ["count", "sum"].map(|suffix| {
        let name = format!("llm_proxy_frame_gap_seconds_{suffix} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&name));
        value.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
    })
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_the_time_from_a_frame_to_the_next_of_the_same_response() {
    let books = Books::default();
    let (request, ()) = Request::new(()).into_parts();
    let (mut one, mut other) = (books.gaps()(&request), books.gaps()(&request));
    advance(Duration::from_secs(60)).await;
    one.data("a".into());
    assert_eq!(gaps(&books), [0.0, 0.0]);
    advance(Duration::from_millis(250)).await;
    other.data("b".into());
    one.data("c".into());
    assert_eq!(gaps(&books), [1.0, 0.25]);
    advance(Duration::from_secs(2)).await;
    // An empty frame breaks no silence.
    one.data("".into());
    other.data("d".into());
    advance(Duration::from_secs(1)).await;
    one.data("e".into());
    assert_eq!(gaps(&books), [3.0, 0.25 + 2.0 + 3.0]);
}

#[test]
fn a_reason_is_one_of_our_own_names_or_other() {
    for limit in ["head", "first_frame", "idle", "total", "unread"] {
        assert_eq!(reason("timed_out", Some(limit)), limit);
    }
    for (outcome, text, name) in [
        ("aborted", "aborted", "aborted"),
        ("aborted", "shutdown", "shutdown"),
        ("aborted", "too slow", "other"),
        ("aborted", "idle", "other"),
        ("aborted", "upstream_status_500", "other"),
        ("failed", "upstream_error_event", "upstream_error_event"),
        ("failed", "upstream_status_429", "upstream_status"),
        ("failed", "upstream_not_a_stream", "other"),
        ("panicked", "aborted", "other"),
    ] {
        assert_eq!(reason(outcome, Some(text)), name, "{outcome} {text}");
    }
    assert_eq!(reason("completed", None), "none");
}
