//! A whole answer is whole: what an upstream does behind its own end, and an end that comes too early.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};
use testkit::{Gate, How, Play, Reason, Upstream, dechunk};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};

use crate::{
    client::{Client, End, Side, WIRES, Wire, error_of, post, says},
    common::{LIMIT, Proxy},
};

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const GEMINI: &str = "/v1beta/models/m:streamGenerateContent";
const CONVERSE: &str = "/model/m/converse-stream";
const SSE: &str = "text/event-stream";
const DELTA: &str = "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n";
const STOP: &str = "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const OTHER: &str = "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":1,\"delta\":{\"content\":\"hi\"}}]}\n\n";
const USAGE: &str = "data: {\"object\":\"chat.completion.chunk\",\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":7}}\n\n";
const DONE: &str = "data: [DONE]\n\n";
const REFUSED: &str = "data: {\"error\":{\"message\":\"overloaded\",\"code\":529}}\n\n";
const FAILED: &str = "upstream_error_event";

/// Each way in which a stream says that it is over: the path, the content type, the last event, and whether it failed.
const TERMINAL: [(&str, &str, &str, bool); 9] = [
    (CHAT, SSE, DONE, false),
    (CHAT, SSE, REFUSED, true),
    (MESSAGES, SSE, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n", false),
    (
        MESSAGES,
        SSE,
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n",
        true,
    ),
    (
        "/v1/responses",
        SSE,
        "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\"}}\n\n",
        false,
    ),
    (
        "/v1/responses",
        SSE,
        "event: response.incomplete\ndata: {\"type\":\"response.incomplete\",\"response\":{\"status\":\"incomplete\"}}\n\n",
        false,
    ),
    (
        "/v1/responses",
        SSE,
        "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\"}}\n\n",
        true,
    ),
    (
        "/api/chat",
        "application/x-ndjson",
        "{\"model\":\"m\",\"created_at\":\"1\",\"done\":true}\n",
        false,
    ),
    (
        "/v2/chat",
        SSE,
        "event: message-end\ndata: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"COMPLETE\"}}\n\n",
        false,
    ),
];

fn head(content_type: &str) -> Play {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    Play::new().send(head)
}

fn ended(ending: &Value, failed: bool) {
    let (outcome, reason) =
        if failed { ("failed", json!(FAILED)) } else { ("completed", Value::Null) };
    says(ending, [("outcome", json!(outcome)), ("reason", reason)]);
}

/// A client that has read these events of a stream that goes on like this.
async fn behind(
    wire: Wire,
    events: &str,
    rest: impl FnOnce(Play) -> Play,
    options: &[&str],
) -> (Upstream, Proxy, Client) {
    let upstream = Upstream::start([rest(Play::new().head_sse().chunk(events))]).await;
    let proxy = Proxy::before(upstream.addr(), options).await;
    let mut client = Client::get(wire, &proxy, CHAT).await;
    assert_eq!(client.read_until(events).await, events);
    (upstream, proxy, client)
}

#[tokio::test]
async fn behind_a_terminal_event_the_client_sees_a_clean_end_whatever_the_upstream_does() {
    let moment = Duration::from_millis(100); // What has not arrived is lost with a reset.
    for wire in WIRES {
        let (mut plays, mut cases) = (Vec::new(), Vec::new());
        for (path, media, last, failed) in TERMINAL {
            let begun = || head(media).chunk(last).sleep(moment);
            let faults = [
                ("reset", begun().reset()),
                ("no last chunk", begun().fin()),
                ("nonsense", begun().send("no chunk\r\n").stall()),
                ("silence", begun().stall()),
            ];
            for (fault, play) in faults {
                plays.push(play);
                cases.push((path, last, failed, fault));
            }
        }
        let upstream = Upstream::start(plays).await;
        let proxy = Proxy::before(upstream.addr(), &[]).await;
        let mut clients = Vec::new();
        for (path, ..) in &cases {
            clients.push(Client::get(wire, &proxy, path).await);
        }
        for (mut client, (path, last, failed, fault)) in clients.into_iter().zip(cases) {
            let seen = client.rest().await;
            assert_eq!(seen, (last.to_owned(), End::Clean), "{wire:?} {path} {fault}");
            ended(&proxy.ending_of(&client.id).await, failed);
        }
    }
}

/// Serves these events on each stream of HTTP/2, and then this.
async fn h2_upstream(events: &'static str, fault: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let response =
                    http::Response::builder().header("content-type", SSE).body(()).unwrap();
                let mut body = respond.send_response(response, false).unwrap();
                body.send_data(Bytes::from(events), false).unwrap();
                let moment = sleep(Duration::from_millis(100));
                tokio::select! {
                    () = moment => {}
                    _ = connection.accept() => {} // Drives the connection.
                }
                match fault {
                    "reset" => body.send_reset(Reason::INTERNAL_ERROR),
                    "refused" => body.send_reset(Reason::REFUSED_STREAM),
                    "goaway" => connection.abrupt_shutdown(Reason::INTERNAL_ERROR),
                    "closed" => break,
                    _ => {
                        connection.accept().await;
                    }
                }
            }
        }
    });
    addr
}

#[tokio::test]
async fn behind_a_terminal_event_an_h2_upstream_may_do_what_it_likes_too() {
    for (last, failed) in [(DONE, false), (REFUSED, true)] {
        for fault in ["reset", "refused", "goaway", "closed", "silence"] {
            let addr = h2_upstream(last, fault).await;
            let proxy = Proxy::start(&[&format!("--upstream=h2c://{addr}")]).await;
            let mut client = Client::get(Wire::H1, &proxy, CHAT).await;
            assert_eq!(client.rest().await, (last.to_owned(), End::Clean), "{fault}");
            ended(&proxy.ending().await, failed);
        }
    }
}

#[tokio::test]
async fn the_upstream_is_let_go_a_second_behind_the_last_event_and_five_behind_the_terminal_one() {
    let beats = |play: Play, beat: &str| {
        (0..100).fold(play, |play, _| play.sleep(Duration::from_millis(100)).chunk(beat))
    };
    for (beat, from, to) in [(": alive\n\n", 1, 3), ("data: {}\n\n", 5, 8)] {
        let began = Instant::now();
        let (upstream, proxy, mut client) =
            behind(Wire::H1, DONE, |play| beats(play, beat), &[]).await;
        let (rest, end) = client.rest().await;
        assert_eq!(
            (rest.replace(beat, ""), end),
            (String::new(), End::Clean),
            "they are passed on"
        );
        let closed = upstream.closed(0, LIMIT).await.duration_since(began);
        assert!((from..to).contains(&closed.as_secs()), "{closed:?}");
        ended(&proxy.ending().await, false);
    }
}

#[tokio::test]
async fn behind_a_terminal_event_no_limit_holds_and_what_comes_in_time_is_passed_on() {
    for wire in WIRES {
        for option in ["--idle-timeout=200ms", "--total-timeout=400ms", "--unread-timeout=200ms"] {
            let late = |play: Play| play.sleep(Duration::from_millis(700)).chunk(USAGE).stall();
            let (_upstream, proxy, mut client) = behind(wire, DONE, late, &[option]).await;
            assert_eq!(client.rest().await, (USAGE.to_owned(), End::Clean), "{option}");
            let ending = proxy.ending().await;
            ended(&ending, false);
            assert_eq!(ending["usage"]["input_tokens"], 12, "{option}");
        }
    }
}

#[tokio::test]
async fn behind_a_terminal_event_nothing_comes_but_heartbeats() {
    let (_upstream, proxy, mut client) =
        behind(Wire::H1, DONE, Play::stall, &["--keepalive=200ms"]).await;
    let (rest, end) = client.rest().await;
    assert!(!rest.is_empty() && rest.lines().all(|line| line.starts_with(':')), "{rest}");
    assert_eq!(end, End::Clean);
    ended(&proxy.ending().await, false);
}

#[tokio::test]
async fn an_abort_behind_a_terminal_event_finds_it_finished_and_ends_it_at_once() {
    for wire in WIRES {
        for (last, failed) in [(DONE, false), (REFUSED, true)] {
            for all in [false, true] {
                let (upstream, proxy, mut client) = behind(wire, last, Play::stall, &[]).await;
                let asked = Instant::now();
                if all {
                    let (_, status, answer) =
                        proxy.ask_admin("DELETE", "/streams?reason=stop", "").await;
                    assert_eq!((status, answer), (200, json!({"aborted": 0})));
                } else {
                    let answer = proxy.abort(&client.id, "?reason=stop").await;
                    assert_eq!(answer, (409, "finished".to_owned()));
                }
                assert_eq!(client.rest().await, (String::new(), End::Clean));
                assert!(asked.elapsed() < Duration::from_millis(900), "it was not waited for");
                upstream.closed(0, LIMIT).await;
                ended(&proxy.ending().await, failed);
            }
        }
    }
}

#[tokio::test]
async fn a_shutdown_behind_a_terminal_event_is_a_clean_end() {
    for wire in WIRES {
        let (_upstream, proxy, mut client) =
            behind(wire, DONE, Play::stall, &["--grace=100ms"]).await;
        let mut child = proxy.child;
        let pid = child.id().unwrap().to_string();
        let kill = tokio::process::Command::new("kill").args(["-TERM", &pid]).status().await;
        assert!(kill.unwrap().success());
        assert_eq!(client.rest().await, (String::new(), End::Clean));
        assert!(child.wait().await.unwrap().success());
    }
}

#[tokio::test]
async fn a_client_that_leaves_behind_a_terminal_event_has_it_all() {
    for wire in WIRES {
        for (last, failed) in [(DONE, false), (REFUSED, true)] {
            for options in [&[][..], &["--drain=1m"], &["--drain=1m", "--drain-streams=0"]] {
                let (upstream, proxy, client) = behind(wire, last, Play::stall, options).await;
                client.leave().await;
                upstream.closed(0, LIMIT).await;
                let ending = proxy.ending().await;
                ended(&ending, failed);
                let drained = if failed { "failed" } else { "completed" };
                let drained = if options.is_empty() {
                    Value::Null
                } else {
                    json!({"bytes": 0, "end": drained})
                };
                assert_eq!(ending["drained"], drained, "{wire:?} {options:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_the_stream_says_in_a_drain_is_how_the_drain_ends() {
    let gate = Gate::new();
    let rest = |play: Play| play.wait(&gate).chunk(DONE).sleep(Duration::from_millis(100)).reset();
    let (_upstream, proxy, client) = behind(Wire::H1, DELTA, rest, &["--drain=1m"]).await;
    client.leave().await;
    proxy.stream(|stream| stream["draining"] == true).await;
    gate.open();
    let ending = proxy.ending().await;
    let drained = json!({"bytes": DONE.len(), "end": "completed"});
    says(
        &ending,
        [("outcome", json!("disconnected")), ("drained", drained), ("terminator", json!("seen"))],
    );
}

/// What a client sees of a stream that comes in these pieces and ends cleanly, and the ending.
async fn clean(path: &str, media: &str, pieces: &[&[u8]]) -> (Vec<u8>, End, Value) {
    let play = pieces.iter().fold(head(media), Play::chunk).last_chunk();
    let upstream = Upstream::start([play]).await;
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    let mut client = Client::get(Wire::H1, &proxy, path).await;
    let Side::H1(client) = &mut client.side else { unreachable!() };
    let (seen, end) = match client.read_until(|bytes| dechunk(bytes).complete, LIMIT).await {
        Ok(bytes) => (dechunk(&bytes).body, End::Clean),
        Err(end) => {
            assert_ne!(end.how, How::TimedOut);
            (dechunk(&end.bytes).body, End::Cut)
        }
    };
    (seen, end, proxy.ending().await)
}

#[tokio::test]
async fn a_chat_that_ends_cleanly_behind_its_finish_reason_is_whole_without_done() {
    for (events, whole) in [
        ([DELTA, STOP, ""], true),
        ([DELTA, STOP, USAGE], true),
        ([DELTA, USAGE, ""], false),
        ([DELTA, OTHER, STOP], false),
        ([STOP, DELTA, ""], false),
    ] {
        let sent = events.concat();
        let (one, rest) = sent.as_bytes().split_at(sent.len() / 3);
        let (seen, end, ending) = clean(CHAT, SSE, &[one, rest]).await;
        assert_eq!((seen == sent.as_bytes(), end), (whole, End::Clean), "{sent}");
        let outcome = if whole { "completed" } else { "truncated" };
        says(&ending, [("outcome", json!(outcome)), ("terminator", json!("missing"))]);
        if !whole {
            let last = String::from_utf8(seen[sent.len()..].to_vec()).unwrap();
            assert_eq!(error_of(&last)["error"]["code"], "truncated");
        }
    }
    let stop = "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":2}}\n\n";
    let (seen, _, ending) = clean(MESSAGES, SSE, &[stop.as_bytes()]).await;
    assert_eq!(seen, stop.as_bytes());
    says(&ending, [("outcome", json!("completed")), ("terminator", json!("missing"))]);
}

#[tokio::test]
async fn as_many_answers_as_the_request_asks_for_have_to_be_there() {
    let gemini = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"hi\"}]},\"finishReason\":\"STOP\"}]}\r\n\r\n";
    let text = "data: {\"object\":\"text_completion\",\"choices\":[{\"index\":0,\"text\":\"hi\",\"finish_reason\":\"stop\"}]}\n\n";
    for (path, sent, request, terminator, outcome) in [
        (CHAT, STOP, json!({"n": 1, "stream": true}), "missing", "completed"),
        (CHAT, STOP, json!({"n": 2, "stream": true}), "missing", "truncated"),
        ("/v1/completions", text, json!({"prompt": ["a"], "stream": true}), "missing", "completed"),
        ("/v1/completions", text, json!({"prompt": ["a", "b"]}), "missing", "truncated"),
        (GEMINI, gemini, json!({"generationConfig": {"candidateCount": 1}}), "seen", "completed"),
        (
            GEMINI,
            gemini,
            json!({"generationConfig": {"candidateCount": 2}}),
            "missing",
            "truncated",
        ),
    ] {
        for options in [&[][..], &["--replay=1m", "--early-head=5s"]] {
            let upstream = Upstream::start([Play::new().head_sse().chunk(sent).last_chunk()]).await;
            let proxy = Proxy::before(upstream.addr(), options).await;
            let mut client = Client::send(&proxy, post(path, &request)).await;
            let (seen, end) = client.rest().await;
            assert_eq!((seen == sent, end), (outcome == "completed", End::Clean), "{request}");
            let ending = proxy.ending().await;
            says(&ending, [("outcome", json!(outcome)), ("terminator", json!(terminator))]);
        }
    }
}

#[tokio::test]
async fn gemini_and_bedrock_are_whole_with_their_reason_and_broken_without() {
    let part = r#"{"candidates":[{"content":{"parts":[{"text":"hi"}]}}],"usageMetadata":{"promptTokenCount":1}}"#;
    let last = r#"{"candidates":[{"content":{"parts":[{"text":"!"}]},"finishReason":"STOP"}]}"#;
    let blocked = r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#;
    let events = |parts: &[&str]| -> Vec<u8> {
        parts.iter().map(|part| format!("data: {part}\r\n\r\n")).collect::<String>().into()
    };
    let array = |parts: &[&str]| -> Vec<u8> { format!("[{}\n]", parts.join("\n,\r\n")).into() };
    let bedrock = &include_bytes!("../../../../tests/fixtures/usage/bedrock_converse.bin")[..];
    let frames = |count| -> Vec<u8> {
        let mut end = 0;
        for _ in 0..count {
            end += u32::from_be_bytes(bedrock[end..end + 4].try_into().unwrap()) as usize;
        }
        bedrock[..end].to_vec()
    };
    let (json, binary) = ("application/json", "application/vnd.amazon.eventstream");
    for (path, media, body, whole) in [
        (GEMINI, SSE, events(&[part]), false),
        (GEMINI, SSE, events(&[part, last]), true),
        (GEMINI, SSE, events(&[last, part]), false),
        (GEMINI, SSE, events(&[blocked]), true),
        (GEMINI, json, array(&[part]), false),
        (GEMINI, json, array(&[part, last]), true),
        (CONVERSE, binary, frames(3), false),
        (CONVERSE, binary, frames(4), true),
        (CONVERSE, binary, frames(5), true),
    ] {
        let middle = body.len() / 2;
        let (seen, end, ending) = clean(path, media, &[&body[..middle], &body[middle..]]).await;
        let case = String::from_utf8_lossy(&body);
        // What is no event stream can only be cut.
        let expected = if whole || media == SSE { End::Clean } else { End::Cut };
        assert_eq!((end, seen == body), (expected, whole || media != SSE), "{case}");
        let (outcome, terminator) =
            if whole { ("completed", "seen") } else { ("truncated", "missing") };
        says(&ending, [("outcome", json!(outcome)), ("terminator", json!(terminator))]);
    }
}

#[tokio::test]
async fn an_error_event_of_the_upstreams_own_stays_the_only_one() {
    for wire in WIRES {
        for rest in [Play::reset, Play::fin, Play::stall, Play::last_chunk] {
            let moment = Duration::from_millis(100);
            let play = |play: Play| rest(play.sleep(moment));
            let events = [DELTA, REFUSED].concat();
            let (_upstream, proxy, mut client) = behind(wire, &events, play, &[]).await;
            assert_eq!(client.rest().await, (String::new(), End::Clean), "{wire:?}");
            ended(&proxy.ending().await, true);
        }
    }
}

#[tokio::test]
async fn before_a_terminal_event_a_reset_or_a_limit_is_told_as_ever() {
    for wire in WIRES {
        for (sent, rest, outcome) in [
            ([DELTA, STOP].concat(), Play::reset as fn(Play) -> Play, "failed"),
            ([DELTA, STOP].concat(), Play::stall, "timed_out"),
        ] {
            let play = |play: Play| rest(play.sleep(Duration::from_millis(100)));
            let options = &["--idle-timeout=500ms"];
            let (_upstream, proxy, mut client) = behind(wire, &sent, play, options).await;
            let (last, end) = client.rest().await;
            assert!(error_of(&last)["error"].is_object() && end == End::Clean);
            says(
                &proxy.ending().await,
                [("outcome", json!(outcome)), ("terminator", json!("missing"))],
            );
        }
    }
}

#[tokio::test]
async fn embeddings_images_and_transcriptions_are_metered() {
    let words = "data: {\"type\":\"transcript.text.done\",\"text\":\"hi\",\"usage\":{\"type\":\"tokens\",\"input_tokens\":14,\"output_tokens\":5,\"total_tokens\":19}}\n\n";
    let json = "application/json";
    for (path, media, body, counts, dialect) in [
        (
            "/v1/embeddings",
            json,
            "{\"usage\":{\"prompt_tokens\":8,\"total_tokens\":8}}",
            (8, None),
            "openai_chat",
        ),
        (
            "/v1/images/generations",
            json,
            "{\"usage\":{\"input_tokens\":50,\"output_tokens\":60}}",
            (50, Some(60)),
            "openai_chat",
        ),
        ("/v1/audio/transcriptions", SSE, words, (14, Some(5)), "openai_chat"),
        ("/api/embed", json, "{\"embeddings\":[[1]],\"prompt_eval_count\":8}", (8, None), "ollama"),
    ] {
        let (seen, end, ending) = clean(path, media, &[body.as_bytes()]).await;
        assert_eq!((seen, end), (body.as_bytes().to_vec(), End::Clean));
        says(&ending, [("outcome", json!("completed")), ("terminator", json!("none"))]);
        let expected = [
            ("dialect", json!(dialect)),
            ("input_tokens", json!(counts.0)),
            ("output_tokens", json!(counts.1)),
            ("certainty", json!("reported")),
        ];
        says(&ending["usage"], expected);
    }
}
