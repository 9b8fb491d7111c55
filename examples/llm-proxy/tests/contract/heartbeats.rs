//! Heartbeats in silence: the kind that the clients of each dialect survive, and never inside of anything.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::{
    client::{Client, End, ask},
    common::Proxy,
};

const EVERY: Duration = Duration::from_millis(200);
const COMMENT: &str = ": keep-alive\n";
const PING: &str = "event: ping\ndata: {\"type\":\"ping\"}\n\n";

/// The same answer through a proxy with heartbeats and through one without, and how many heartbeats there can be.
async fn answers(path: &str, model: &str) -> (String, String, usize) {
    let with = Proxy::start(&["--keepalive=200ms"]).await;
    let without = Proxy::start(&["--keepalive=off"]).await;
    let asked = Instant::now();
    let mut client = Client::send(&with, ask(path, model)).await;
    let mut plain = Client::send(&without, ask(path, model)).await;
    let (beaten, end) = client.rest().await;
    let most = asked.elapsed().as_millis() / EVERY.as_millis();
    assert_eq!(end, End::Clean);
    let (plain, end) = plain.rest().await;
    assert_eq!(end, End::Clean);
    let ending = with.ending().await;
    assert_eq!(ending["bytes"], plain.len(), "heartbeats are not the upstream's");
    (beaten, plain, most as usize)
}

/// The data of all events, in order, with their names.
fn events(stream: &str) -> Vec<(Option<&str>, Value)> {
    let blocks = stream.split("\n\n").filter(|block| !block.is_empty());
    let events = blocks.map(|block| {
        let field = |name| block.lines().find_map(|line| line.strip_prefix(name));
        let data = field("data: ").unwrap_or_else(|| panic!("no data: {block:?}"));
        (field("event: "), serde_json::from_str(data).unwrap_or_else(|_| data.into()))
    });
    events.collect()
}

#[tokio::test]
async fn openai_gets_comments_between_the_events() {
    let model = "sim-words=4-gap=0ms-first=500ms-pause=2:500ms";
    let (beaten, plain, most) = answers("/v1/chat/completions", model).await;
    let beats = beaten.matches(COMMENT).count();
    assert!((2..=most).contains(&beats), "{beats} heartbeats\n{beaten}");
    assert!(beaten.starts_with(COMMENT), "none in the silence before the first event\n{beaten}");
    assert_eq!(beaten.replace(COMMENT, ""), plain);
    assert_eq!(events(&beaten), events(&plain));
    assert!(!plain.contains(COMMENT));
    let at = beaten.rfind(COMMENT).unwrap();
    assert!(beaten[..at].trim_end_matches(COMMENT).ends_with("\n\n"), "not at a boundary");
    assert_eq!(beaten[..at].matches("data: ").count(), 3, "not in the pause after two words");
}

#[tokio::test]
async fn anthropic_gets_pings_after_message_start_and_a_comment_before_it() {
    let model = "sim-words=4-gap=0ms-first=500ms-pause=2:500ms";
    let (beaten, plain, most) = answers("/v1/messages", model).await;
    let (comments, pings) = (beaten.matches(COMMENT).count(), beaten.matches(PING).count());
    // The simulation sends a ping of its own.
    assert_eq!((plain.matches(COMMENT).count(), plain.matches(PING).count()), (0, 1));
    assert!(comments >= 1 && pings >= 2 && comments + pings - 1 <= most, "{beaten}");
    let rest = beaten.trim_start_matches(COMMENT);
    assert!(rest.starts_with("event: message_start\n"), "{beaten}");
    assert!(!rest.contains(COMMENT), "{beaten}");
    let no_pings = |stream: &str| {
        let mut events: Vec<_> = events(stream)
            .into_iter()
            .map(|(name, data)| (name.map(ToOwned::to_owned), data))
            .collect();
        events.retain(|(name, _)| name.as_deref() != Some("ping"));
        events
    };
    assert_eq!(no_pings(&beaten), no_pings(&plain));
}

#[tokio::test]
async fn ollama_gets_spaces_before_the_next_line() {
    let model = "sim-words=4-gap=0ms-first=500ms-pause=2:500ms";
    let (beaten, plain, most) = answers("/api/chat", model).await;
    let spaces: usize =
        beaten.lines().map(|line| line.len() - line.trim_start_matches(' ').len()).sum();
    assert!((2..=most).contains(&spaces), "{spaces} heartbeats\n{beaten}");
    assert!(beaten.starts_with(' '), "none in the silence before the first line");
    let stripped: String =
        beaten.lines().map(|line| format!("{}\n", line.trim_start_matches(' '))).collect();
    assert_eq!(stripped, plain);
    for line in beaten.lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
}

#[tokio::test]
async fn a_busy_stream_gets_none() {
    for path in ["/v1/chat/completions", "/v1/messages", "/api/chat"] {
        let (beaten, plain, _) = answers(path, "sim-words=12-gap=50ms").await;
        assert_eq!(beaten, plain, "{path}");
    }
}
