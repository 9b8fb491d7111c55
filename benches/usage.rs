//! What it costs to read the usage of a stream: nanoseconds per frame of one event, side by side with the bare body, with
//! an empty sink, and with parsing every event with `serde_json`.
//!
//! `cargo bench --bench usage --features usage`. The subjects take turns, round by round, so that whatever else the machine
//! does hits all alike; the median round counts.

#![allow(clippy::expect_used)] // A bench that can not run shall say so.

use std::{
    convert::Infallible,
    hint::black_box,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use tokio::{runtime, time::Instant};
use tower_lifeline::{
    sse::{Decoded, Decoder},
    tee::{Sink, TeeBody},
    usage::UsageMeter,
};

const FRAMES: u32 = 20_000;
const ROUNDS: usize = 31;

const OPENAI: &str = "data: {\"id\":\"chatcmpl-T0q5a6K3RaPMymUv70btQNYv6SvY\",\"object\":\"chat.completion.chunk\",\"created\":1790000000,\"model\":\"gpt-test-1-2026-08-07\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" hello\"},\"finish_reason\":null}],\"usage\":null,\"obfuscation\":\"IPio8PDec\"}\n\n";
const ANTHROPIC: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" hi\"}}\n\n";
const GEMINI: &str = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\" hello there, how are you\"}],\"role\":\"model\"},\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":50,\"candidatesTokenCount\":2,\"totalTokenCount\":62,\"thoughtsTokenCount\":10},\"modelVersion\":\"gemini-test\",\"responseId\":\"r1\"}\r\n\r\n";

const RESPONSES: &str = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"item_id\":\"msg_0a1b2c3d4e5f\",\"output_index\":0,\"content_index\":0,\"delta\":\" hello\",\"logprobs\":[],\"obfuscation\":\"IPio8PDec\",\"sequence_number\":17}\n\n";
const OLLAMA: &str = "{\"model\":\"llama-test\",\"created_at\":\"2026-11-28T14:00:00.123456Z\",\"message\":{\"role\":\"assistant\",\"content\":\" hello\"},\"done\":false}\n";

/// The same event, always ready.
struct Events {
    event: Bytes,
    left: u32,
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(self.event.clone()))))
    }
}

struct Nothing;

impl Sink for Nothing {
    fn data(&mut self, data: Bytes) {
        black_box(data);
    }
}

/// Takes events apart, and parses them or not.
struct Decodes {
    decoder: Decoder,
    parse: bool,
}

impl Sink for Decodes {
    fn data(&mut self, mut data: Bytes) {
        while let Some(decoded) = self.decoder.decode(&mut data) {
            let Decoded::Event(event) = decoded else { continue };
            if self.parse {
                let _ = black_box(serde_json::from_slice::<serde_json::Value>(event.data()));
            }
        }
    }
}

type Boxed = UnsyncBoxBody<Bytes, Infallible>;
type Subject = (&'static str, fn(Events, &'static str) -> Boxed);

fn tee<S: Sink + Send + 'static>(body: Events, sink: S) -> Boxed {
    UnsyncBoxBody::new(TeeBody::new(body, sink))
}

const SUBJECTS: [Subject; 5] = [
    ("bare body", |body, _| UnsyncBoxBody::new(body)),
    ("tee, empty sink", |body, _| tee(body, Nothing)),
    ("decoder alone", |body, _| tee(body, Decodes { decoder: Decoder::new(), parse: false })),
    ("usage meter", |body, path| tee(body, UsageMeter::for_path(path))),
    ("serde_json of every event", |body, _| {
        tee(body, Decodes { decoder: Decoder::new(), parse: true })
    }),
];

/// Reads a body to its end: nanoseconds per frame.
async fn nanos(body: Boxed) -> f64 {
    let mut body = pin!(body);
    let start = Instant::now();
    while let Some(frame) = body.frame().await {
        let _ = black_box(frame);
    }
    start.elapsed().as_nanos() as f64 / f64::from(FRAMES)
}

fn main() {
    let runtime = runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    for (name, path, event) in [
        ("openai chat", "/v1/chat/completions", OPENAI),
        ("openai responses", "/v1/responses", RESPONSES),
        ("anthropic", "/v1/messages", ANTHROPIC),
        ("ollama", "/api/chat", OLLAMA),
        ("gemini, which counts in every event", "/v1/models/m:streamGenerateContent", GEMINI),
    ] {
        let bytes = Bytes::from(event.as_bytes().to_vec());
        let mut times = [const { Vec::new() }; SUBJECTS.len()];
        for _ in 0..ROUNDS {
            for ((_, body), times) in SUBJECTS.iter().zip(&mut times) {
                let events = Events { event: bytes.clone(), left: FRAMES };
                times.push(runtime.block_on(nanos(body(events, path))));
            }
        }
        println!(
            "{name}, events of {} bytes, ns per frame, median of {ROUNDS} rounds",
            event.len()
        );
        for ((subject, _), times) in SUBJECTS.iter().zip(&mut times) {
            times.sort_by(f64::total_cmp);
            println!("  {subject:26} {:8.1}", times[ROUNDS / 2]);
        }
    }
}
