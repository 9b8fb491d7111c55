//! The usage of a stream is the same however it is cut into frames.
//!
//! The first bytes choose the meter, the content type and the cuts; the rest is the stream.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tower_lifeline::{
    exchange::Outcome,
    tee::Sink,
    usage::{Dialect, Usage, UsageMeter},
};

const DIALECTS: [Dialect; 8] = [
    Dialect::OpenAiChat,
    Dialect::OpenAiResponses,
    Dialect::Anthropic,
    Dialect::Gemini,
    Dialect::Ollama,
    Dialect::Cohere,
    Dialect::BedrockConverse,
    Dialect::BedrockInvoke,
];
const PATHS: [&str; 8] = [
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1beta/models/m:streamGenerateContent",
    "/api/chat",
    "/v2/chat",
    "/model/m/invoke-with-response-stream",
    "/v1/embeddings",
];
const TYPES: [&str; 8] = [
    "text/event-stream",
    "text/event-stream",
    "text/event-stream",
    "application/x-ndjson",
    "application/json",
    "application/vnd.amazon.eventstream",
    "text/plain",
    "",
];

fn read(meter: u8, content_type: u8, pieces: impl IntoIterator<Item = Bytes>) -> Usage {
    let which = usize::from(meter % 8);
    let mut sink = match meter / 8 % 3 {
        0 => UsageMeter::new(None),
        1 => UsageMeter::new(Some(DIALECTS[which])),
        _ => UsageMeter::for_path(PATHS[which]),
    };
    let status = if content_type / 8 % 8 == 0 { 429 } else { 200 };
    let head = http::Response::builder().status(status);
    let head = head.header("content-type", TYPES[usize::from(content_type % 8)]);
    sink.head(&head.body(()).unwrap().into_parts().0);
    let report = sink.report();
    pieces.into_iter().for_each(|piece| sink.data(piece));
    sink.end(Outcome::Completed);
    report.usage()
}

/// A message of AWS's event streams, with its right checksums.
fn message(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut headers = vec![];
    for (name, value) in [(":event-type", kind), (":message-type", "event")] {
        headers.push(name.len() as u8);
        headers.extend(name.as_bytes());
        headers.extend([7, 0, value.len() as u8]);
        headers.extend(value.as_bytes());
    }
    let length = (16 + headers.len() + payload.len()) as u32;
    let mut message = [length.to_be_bytes(), (headers.len() as u32).to_be_bytes()].concat();
    message.extend(crc32fast::hash(&message).to_be_bytes());
    message.extend(headers);
    message.extend(payload);
    message.extend(crc32fast::hash(&message).to_be_bytes());
    message
}

/// As a server sends its events: what is left out unread is cut like that.
fn eventwise(mut stream: Bytes) -> Vec<Bytes> {
    let mut events = vec![];
    let ends = |at: &usize, stream: &Bytes| {
        stream[..*at].ends_with(b"\n\n") || stream[..*at].ends_with(b"\r\n\r\n")
    };
    while let Some(end) = (1..stream.len()).find(|at| ends(at, &stream)) {
        events.push(stream.split_to(end));
    }
    events.push(stream);
    events
}

fuzz_target!(|input: (u8, u8, u8, Vec<u8>, Vec<u8>)| {
    let (meter, content_type, wrapping, cuts, stream) = input;
    let stream = Bytes::from(match wrapping % 6 {
        // What chance does not find.
        0 => message("chunk", &stream),
        1 => [message("metadata", &stream), message("messageStop", b"{}")].concat(),
        2 => [b"data: {}\n\n", &stream[..], b"\n\n"].concat(),
        3 => [b"data: ", &stream[..], b"\n\n"].concat(),
        _ => stream,
    });
    let bytes = (0..stream.len()).map(|at| stream.slice(at..=at));
    let expected = read(meter, content_type, bytes);
    let whole = [stream.clone()];
    assert_eq!(read(meter, content_type, whole), expected, "whole");
    assert_eq!(read(meter, content_type, eventwise(stream.clone())), expected, "event by event");
    let mut rest = stream;
    let mut pieces = vec![];
    for cut in cuts {
        pieces.push(rest.split_to(usize::from(cut).min(rest.len())));
    }
    pieces.push(rest);
    assert_eq!(read(meter, content_type, pieces), expected, "in pieces");
});
