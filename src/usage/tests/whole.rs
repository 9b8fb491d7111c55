//! A stream is whole by what it says: behind its own end nothing counts, whoever stands where.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use testkit::{Collected, Eos, Log, Script, drain};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::Instant,
};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneService};

use super::bedrock;
use crate::{
    abort::{AbortHandle, AbortLayer},
    detach::{DetachLayer, DrainLimits},
    error::BoxError,
    exchange::{DrainEnd, Outcome},
    final_frame::FinalFrameLayer,
    finalize::{Ending, FinalizeLayer},
    tee::{Sink, TeeLayer},
    timeouts::{Limits, TimeoutsLayer},
    usage::TerminatorGuardLayer,
};

type Boxed = UnsyncBoxBody<Bytes, BoxError>;
type Service = BoxCloneService<Request<()>, Response<Boxed>, BoxError>;

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const MESSAGES: &str = "/v1/messages";
const SSE: &str = "text/event-stream";
const FRAMES: &str = "application/vnd.amazon.eventstream";
const CONVERSE: &str = "/model/m/converse-stream";
const INVOKE: &str = "/model/m/invoke-with-response-stream";
const DELTA: &str = "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n";
const STOP: &str = "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";
const REFUSED: &str = "data: {\"error\":{\"message\":\"overloaded\",\"code\":529}}\n\n";

/// The layers, outermost first, by their letters: final Frame, Detach, Abort, Timeouts, finalIze, Guard, Usage.
struct Stack {
    abort: AbortHandle,
    told: UnboundedReceiver<Ending>,
    log: Log,
    body: Boxed,
}

const ORDER: &str = "FATIGU";

async fn open(order: &str, path: &str, media: &str, script: Script, limits: Limits) -> Stack {
    let (abort, log) = (AbortHandle::new(), script.log());
    let (tell, told) = unbounded_channel();
    let response = Response::builder().header("content-type", media).body(boxed(script)).unwrap();
    let response = Arc::new(Mutex::new(Some(response)));
    let mut service: Service = BoxCloneService::new(service_fn(move |_| {
        std::future::ready(Ok(response.lock().unwrap().take().unwrap()))
    }));
    for letter in order.chars().rev() {
        let (abort, tell) = (abort.clone(), tell.clone());
        service = match letter {
            'F' => wrap(&FinalFrameLayer::by_media(), service),
            'D' => wrap(&DetachLayer::new(DrainLimits::new()), service),
            'A' => wrap(&AbortLayer::new(move |_: &Parts| abort.clone()), service),
            'T' => wrap(&TimeoutsLayer::new(limits.clone()), service),
            'I' => {
                let hook = move |_: &Parts| {
                    let tell = tell.clone();
                    move |ending| drop(tell.send(ending))
                };
                wrap(&FinalizeLayer::new(hook), service)
            }
            'X' => wrap(&TeeLayer::new(move |_: &Parts| Aborting(abort.clone(), DONE)), service),
            'G' => wrap(&TerminatorGuardLayer, service),
            _ => wrap(&TeeLayer::usage(), service),
        };
    }
    let request = Request::post(path).body(()).unwrap();
    let body = service.oneshot(request).await.unwrap().into_body();
    Stack { abort, told, log, body }
}

fn boxed<B>(body: B) -> Boxed
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    UnsyncBoxBody::new(body.map_err(Into::into))
}

fn wrap<L, S, B>(layer: &L, inner: Service) -> Service
where
    L: Layer<Service, Service = S>,
    S: tower::Service<Request<()>, Response = Response<B>, Error = BoxError>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    BoxCloneService::new(layer.layer(inner).map_response(|response| response.map(boxed)))
}

impl Stack {
    async fn read(&mut self, data: &str) {
        assert_eq!(self.body.frame().await.unwrap().unwrap().into_data().unwrap(), data);
    }

    /// Reads to the end, and gives what was read, after how long it ended, and the one ending.
    async fn rest(mut self) -> (Collected<BoxError>, Duration, Ending) {
        let began = Instant::now();
        let seen = drain(&mut self.body).await;
        assert!(self.body.frame().await.is_none(), "it is fused");
        let took = began.elapsed();
        drop(self.body);
        (seen, took, one(self.told).await)
    }
}

async fn one(mut told: UnboundedReceiver<Ending>) -> Ending {
    let ending = told.recv().await.unwrap();
    assert!(told.recv().await.is_none(), "an end is told once");
    ending
}

async fn read(path: &str, media: &str, script: Script) -> (Collected<BoxError>, Duration, Ending) {
    open(ORDER, path, media, script, Limits::new()).await.rest().await
}

fn outcome(ending: &Ending) -> (Outcome, Option<&str>) {
    (ending.outcome, ending.reason())
}

const COMPLETED: Ended = (Outcome::Completed, None);
const TOLD: Ended = (Outcome::Failed, Some("upstream_error_event"));

type Ended = (Outcome, Option<&'static str>);

/// What ends a stream, and how; each with something before it.
fn terminal() -> Vec<(&'static str, &'static str, Bytes, Ended)> {
    let of = |path, media, body: &str, outcome| (path, media, body.to_owned().into(), outcome);
    let event =
        |kind: &str, rest: &str| format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{rest}}}\n\n");
    let lines = "application/x-ndjson";
    vec![
        of(CHAT, SSE, &[DELTA, DONE].concat(), COMPLETED),
        of(CHAT, SSE, &[DELTA, REFUSED].concat(), TOLD),
        of(MESSAGES, SSE, &event("message_stop", ""), COMPLETED),
        of(MESSAGES, SSE, &event("error", ",\"error\":{\"type\":\"overloaded_error\"}"), TOLD),
        of(
            RESPONSES,
            SSE,
            &event("response.completed", ",\"response\":{\"status\":\"completed\"}"),
            COMPLETED,
        ),
        of(
            RESPONSES,
            SSE,
            &event("response.incomplete", ",\"response\":{\"status\":\"incomplete\"}"),
            COMPLETED,
        ),
        of(
            RESPONSES,
            SSE,
            &event("response.failed", ",\"response\":{\"status\":\"failed\"}"),
            TOLD,
        ),
        of("/api/chat", lines, "{\"model\":\"m\",\"created_at\":\"1\",\"done\":true}\n", COMPLETED),
        of("/api/chat", lines, "{\"error\":\"out of memory\"}\n", TOLD),
        of(
            "/v2/chat",
            SSE,
            &event("message-end", ",\"delta\":{\"finish_reason\":\"COMPLETE\"}"),
            COMPLETED,
        ),
        of(
            "/v2/chat",
            SSE,
            &event("message-end", ",\"delta\":{\"finish_reason\":\"ERROR\"}"),
            TOLD,
        ),
        (CONVERSE, FRAMES, bedrock::converse(), COMPLETED),
        (CONVERSE, FRAMES, bedrock::exception(), TOLD),
        (INVOKE, FRAMES, bedrock::invoke(), COMPLETED),
    ]
}

#[tokio::test(start_paused = true)]
async fn behind_a_terminal_event_neither_an_error_nor_silence_changes_anything() {
    for (path, media, body, expected) in terminal() {
        for (fault, ended) in [("reset", 0), ("silence", 1000)] {
            let script = Script::new().data(body.clone());
            let script = if ended == 0 { script.error("reset") } else { script.stall() };
            let (seen, took, ending) = read(path, media, script).await;
            assert_eq!(seen.data, body, "{path} {fault}: {body:?}");
            assert!(seen.error.is_none(), "{path} {fault}: {:?}", seen.error);
            assert_eq!(took, Duration::from_millis(ended), "{path} {fault}");
            assert_eq!(outcome(&ending), expected, "{path} {fault}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_finish_reason_is_no_terminal_event() {
    let gemini = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"hi\"}]},\"finishReason\":\"STOP\"}]}\n\n";
    let stopped = "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n";
    let limits = || Limits::new().idle(Some(Duration::from_secs(9)));
    for (path, body) in
        [(CHAT, STOP), (MESSAGES, stopped), ("/v1beta/models/m:streamGenerateContent", gemini)]
    {
        let script = Script::new().data(body).error("reset");
        let (seen, _, ending) = read(path, "text/event-stream", script).await;
        assert_eq!((seen.error.is_none(), ending.outcome), (true, Outcome::Failed), "{path}");
        assert!(seen.data.ends_with(b"}}\n\n") && seen.data.len() > body.len(), "it was told");

        let script = Script::new().data(body).stall();
        let (_, took, ending) = open(ORDER, path, SSE, script, limits()).await.rest().await;
        assert_eq!((took, ending.outcome), (Duration::from_secs(9), Outcome::TimedOut), "{path}");
    }
    // Bedrock's `messageStop`, without the `metadata` that follows it.
    let stopped = bedrock::event("messageStop", r#"{"stopReason":"end_turn"}"#);
    let script = Script::new().data(stopped).error("reset");
    let (seen, _, ending) = read(CONVERSE, FRAMES, script).await;
    assert_eq!((seen.error.is_some(), ending.outcome), (true, Outcome::Failed));
}

#[tokio::test(start_paused = true)]
async fn the_first_terminal_event_wins() {
    for (first, second, expected) in [(DONE, REFUSED, COMPLETED), (REFUSED, DONE, TOLD)] {
        for ended in [Script::end, Script::stall, |script: Script| script.error("reset")] {
            for apart in [true, false] {
                let script = match apart {
                    true => Script::new().data(DELTA).data(first).data(second),
                    false => Script::new().data([DELTA, first, second].concat()),
                };
                let (seen, _, ending) = read(CHAT, SSE, ended(script)).await;
                assert_eq!(seen.data, [DELTA, first, second].concat());
                assert_eq!((seen.error.is_none(), outcome(&ending)), (true, expected));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_behind_it_in_time_is_passed_on_and_a_second_of_comments_is_the_end() {
    let usage =
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n";
    let wait = |millis| Duration::from_millis(millis);
    let script = Script::new().data(DELTA).data(DONE);
    let script = script.sleep(wait(900)).data(usage).sleep(wait(900)).data(": alive\n\n");
    let script = script.sleep(wait(99)).data(": alive\n\n").sleep(wait(2)).data(usage).stall();
    let (seen, took, ending) = read(CHAT, SSE, script).await;
    let alive = ": alive\n\n";
    assert_eq!(seen.data, [DELTA, DONE, usage, alive, alive].concat());
    assert_eq!((took, outcome(&ending)), (wait(1900), COMPLETED));
}

#[tokio::test(start_paused = true)]
async fn events_for_ever_and_comments_for_ever_end_too() {
    for (beat, ended) in [("data: {}\n\n", 5), (": alive\n\n", 1)] {
        for gap in [1, 300] {
            let script = (0..6000 / gap).fold(Script::new().data(DONE), |script, _| {
                script.sleep(Duration::from_millis(gap)).data(beat)
            });
            let (seen, took, ending) = read(CHAT, SSE, script.stall()).await;
            assert!(seen.error.is_none() && seen.data.starts_with(DONE.as_bytes()));
            assert_eq!((took.as_secs(), outcome(&ending)), (ended, COMPLETED), "{beat}");
        }
    }
    // Always ready, it is for ever in another way.
    let script = Script::new().data(DONE).endless("data: {}\n\n");
    let mut stack = open(ORDER, CHAT, SSE, script, Limits::new()).await;
    stack.read(DONE).await;
    for _ in 0..100 {
        stack.read("data: {}\n\n").await;
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(stack.body.frame().await.is_none());
    assert_eq!(outcome(&one(stack.told).await), COMPLETED);
}

#[tokio::test(start_paused = true)]
async fn the_upstream_is_released_in_time_though_nobody_reads() {
    let mut stack = open(ORDER, CHAT, SSE, Script::new().data(DONE).stall(), Limits::new()).await;
    stack.read(DONE).await;
    tokio::time::sleep(Duration::from_millis(999)).await;
    assert_eq!(stack.log.dropped_at(), None);
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert!(stack.log.dropped_at().is_some(), "without a poll");
    let (seen, _, ending) = stack.rest().await;
    assert!(seen.error.is_none() && seen.data.is_empty());
    assert_eq!(outcome(&ending), COMPLETED);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_waits_is_woken_by_the_end() {
    let stack = open(ORDER, CHAT, SSE, Script::new().data(DONE).stall(), Limits::new()).await;
    let reading = tokio::spawn(stack.rest());
    let (seen, took, _) = reading.await.unwrap();
    assert_eq!((seen.data.as_ref(), took), (DONE.as_bytes(), Duration::from_secs(1)));
}

/// All orders of these layers in which the guard is outside of the meter.
fn orders(letters: &str) -> Vec<String> {
    if letters.is_empty() {
        return vec![String::new()];
    }
    let all = letters.char_indices().flat_map(|(at, letter)| {
        let others = letters[..at].to_owned() + &letters[at + 1..];
        orders(&others).into_iter().map(move |rest| format!("{letter}{rest}"))
    });
    all.filter(|order| match (order.find('G'), order.find('U')) {
        (Some(guard), Some(meter)) => guard < meter,
        _ => true,
    })
    .collect()
}

#[tokio::test(start_paused = true)]
async fn the_order_of_the_layers_changes_nothing() {
    assert_eq!(orders("ATIGU").len(), 60);
    for order in orders("ATIGU") {
        let order = format!("F{order}");
        for (last, expected) in [(DONE, COMPLETED), (REFUSED, TOLD)] {
            for fault in ["reset", "idle", "total", "abort", "leave", "unread", "end"] {
                let case = format!("{order} {fault} {last}");
                let limits = match fault {
                    "idle" => Limits::new().idle(Some(Duration::from_millis(300))),
                    "total" => Limits::new().total(Some(Duration::from_millis(300))),
                    "unread" => Limits::new().unread(Some(Duration::from_millis(300))),
                    _ => Limits::new(),
                };
                let script = Script::new().data(DELTA).data(last).eos(Eos::Never);
                let script = match fault {
                    "reset" => script.error("reset"),
                    "end" => script,
                    _ => script.sleep(Duration::from_millis(600)).data("data: {}\n\n").stall(),
                };
                let mut stack = open(&order, CHAT, SSE, script, limits).await;
                stack.read(DELTA).await;
                stack.read(last).await;
                match fault {
                    "abort" => {
                        assert!(!stack.abort.abort("stop"), "{case}: there is nothing to abort");
                    }
                    "unread" => tokio::time::sleep(Duration::from_millis(400)).await,
                    "leave" => {
                        drop(stack.body);
                        assert_eq!(outcome(&one(stack.told).await), expected, "{case}");
                        continue;
                    }
                    _ => {}
                }
                let late = matches!(fault, "idle" | "total");
                let (seen, _, ending) = stack.rest().await;
                assert!(seen.error.is_none(), "{case}: {:?}", seen.error);
                assert_eq!(seen.data, if late { "data: {}\n\n" } else { "" }, "{case}");
                assert_eq!(outcome(&ending), expected, "{case}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn before_a_terminal_event_everything_is_as_ever() {
    for (fault, expected) in
        [("reset", Outcome::Failed), ("idle", Outcome::TimedOut), ("abort", Outcome::Aborted)]
    {
        let limits = Limits::new().idle(Some(Duration::from_millis(300)));
        // The last event lacks its blank line: it may be cut short.
        let script = Script::new().data(DELTA).data("data: [DONE]\n");
        let script = if fault == "reset" { script.error("reset") } else { script.stall() };
        let mut stack = open(ORDER, CHAT, SSE, script, limits).await;
        stack.read(DELTA).await;
        if fault == "abort" {
            assert!(stack.abort.abort("stop"));
        }
        let (seen, _, ending) = stack.rest().await;
        assert!(seen.data.starts_with(b"event: error\n"), "{fault}");
        assert_eq!(ending.outcome, expected, "{fault}");
    }
}

/// Aborts in the middle of the poll that gives a frame with this in it.
struct Aborting(AbortHandle, &'static str);

impl Sink for Aborting {
    fn data(&mut self, data: Bytes) {
        if data == self.1 {
            assert!(self.0.abort("stop"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_that_comes_before_the_terminal_event_is_one_though_that_is_handed_on() {
    for order in ["FATIGUX", "FITAGUX"] {
        let script = Script::new().data(DELTA).data(DONE).stall();
        let mut stack = open(order, CHAT, SSE, script, Limits::new()).await;
        stack.read(DELTA).await;
        stack.read(DONE).await;
        let (seen, took, ending) = stack.rest().await;
        assert!(seen.data.starts_with(b"event: error\n"), "{order}");
        assert_eq!((took, outcome(&ending)), (Duration::ZERO, (Outcome::Aborted, Some("stop"))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_behind_it_is_a_panic() {
    let script = Script::new().data(DONE).panic("boom");
    let (seen, _, ending) = read(CHAT, SSE, script).await;
    assert!(seen.error.is_none() && ending.outcome == Outcome::Panicked);
}

#[tokio::test(start_paused = true)]
async fn without_a_guard_an_error_or_a_limit_behind_it_is_a_clean_end_all_the_same() {
    for (last, expected) in [(DONE, COMPLETED), (REFUSED, TOLD)] {
        for script in [Script::new().data(last).error("reset"), Script::new().data(last).stall()] {
            let limits = Limits::new().idle(Some(Duration::from_millis(300)));
            let (seen, _, ending) = open("FATIU", CHAT, SSE, script, limits).await.rest().await;
            assert!(seen.error.is_none() && seen.data == last);
            assert_eq!(outcome(&ending), expected);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_as_the_stream_says() {
    let drain_of = |script: Script, limits| async move {
        let mut stack = open("FDATIGU", CHAT, SSE, script, limits).await;
        stack.read(DELTA).await;
        stack
    };
    let gap = Duration::from_millis(10);
    for (last, end) in [(DONE, DrainEnd::Completed), (REFUSED, DrainEnd::Failed)] {
        for fault in ["reset", "stall", "idle", "abort"] {
            let script = Script::new().data(DELTA).sleep(gap).data(last);
            let script = if fault == "reset" { script.error("reset") } else { script.stall() };
            let idle = (fault == "idle").then_some(Duration::from_millis(300));
            let stack = drain_of(script, Limits::new().idle(idle)).await;
            drop(stack.body);
            tokio::time::sleep(gap * 2).await;
            if fault == "abort" {
                assert!(!stack.abort.abort("stop"), "the stream had ended");
            }
            let ending = one(stack.told).await;
            // It had left before it was told anything.
            assert_eq!(ending.outcome, Outcome::Disconnected, "{fault}");
            assert_eq!(ending.drained.unwrap().end, end, "{fault}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_without_a_terminal_event_is_one_only_if_every_answer_has_its_reason() {
    let chunk = |choices: &str| {
        format!("data: {{\"object\":\"chat.completion.chunk\",\"choices\":[{choices}]}}\n\n")
    };
    let says = |index: u8| {
        chunk(&format!(
            "{{\"index\":{index},\"delta\":{{\"content\":\"hi\"}},\"finish_reason\":null}}"
        ))
    };
    let stops = |index: u8| {
        chunk(&format!("{{\"index\":{index},\"delta\":{{}},\"finish_reason\":\"stop\"}}"))
    };
    let empty = chunk(
        "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}",
    );
    let usage =
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n"
            .to_owned();
    let calls = chunk(
        "{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":1,\"function\":{\"arguments\":\"{}\"}}]}}",
    );
    let both = chunk("{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}");
    let text = "data: {\"object\":\"text_completion\",\"choices\":[{\"text\":\"hi\",\"finish_reason\":\"length\"}]}\n\n".to_owned();
    let stop = "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":2}}\n\n".to_owned();
    let more = "data: {\"type\":\"content_block_delta\",\"index\":7,\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\n".to_owned();
    let ping = "event: ping\ndata: {\"type\":\"ping\"}\n\n".to_owned();
    let part = |index: u8, reason: &str| {
        format!(
            "data: {{\"candidates\":[{{\"index\":{index},\"content\":{{\"parts\":[{{\"text\":\"hi\"}}]}}{reason}}}]}}\r\n\r\n"
        )
    };
    let why = ",\"finishReason\":\"STOP\"";
    let gemini = "/v1beta/models/m:streamGenerateContent";
    let counted =
        "data: {\"usageMetadata\":{\"promptTokenCount\":1,\"candidatesTokenCount\":2}}\r\n\r\n"
            .to_owned();
    let blocked =
        "data: {\"promptFeedback\":{\"blockReason\":\"SAFETY\"},\"candidates\":[]}\r\n\r\n"
            .to_owned();
    let cases: Vec<(&str, Vec<String>, bool)> = vec![
        (CHAT, vec![says(0), stops(0)], true),
        (CHAT, vec![says(0), stops(0), usage.clone()], true),
        (CHAT, vec![says(0), stops(0), empty.clone(), usage.clone()], true),
        (CHAT, vec![both], true),
        (CHAT, vec![text], true),
        (CHAT, vec![calls.clone(), stops(0)], true),
        (CHAT, vec![says(0), says(1), stops(1), stops(0)], true),
        (CHAT, vec![says(0)], false),
        (CHAT, vec![says(0), usage], false),
        (CHAT, vec![says(0), says(1), stops(0)], false),
        (CHAT, vec![says(0), says(1), stops(1)], false),
        (CHAT, vec![says(0), stops(0), says(1)], false),
        (CHAT, vec![says(0), stops(0), says(0)], false),
        (CHAT, vec![says(0), stops(0), calls], false),
        (CHAT, vec![says(0), stops(0), says(0), stops(0)], true),
        (CHAT, vec![says(0), says(127), stops(0), stops(127)], true),
        (CHAT, vec![says(0), says(128), stops(0), stops(128)], false),
        (CHAT, vec![": alive\n\n".to_owned()], false),
        (MESSAGES, vec![more.clone(), stop.clone()], true),
        (MESSAGES, vec![more.clone(), stop.clone(), ping], true),
        (MESSAGES, vec![more.clone()], false),
        (MESSAGES, vec![stop, more], false),
        (gemini, vec![part(0, ""), part(0, why)], true),
        (gemini, vec![part(0, ""), part(0, why), counted.clone()], true),
        (gemini, vec![part(0, why), part(0, why)], true),
        (gemini, vec![blocked], true),
        (gemini, vec![part(0, "")], false),
        (gemini, vec![part(0, ""), counted], false),
        (gemini, vec![part(0, why), part(0, "")], false),
        (gemini, vec![part(0, ""), part(1, ""), part(0, why)], false),
        (gemini, vec![part(0, ""), part(1, why), part(0, why)], true),
    ];
    for (path, events, whole) in cases {
        let sent = events.concat();
        let pieces = |size: usize| sent.as_bytes().chunks(size).map(Bytes::copy_from_slice);
        for size in [1, 7, 64, sent.len()] {
            let script = pieces(size).fold(Script::new(), Script::data);
            let (seen, _, ending) = read(path, SSE, script).await;
            assert!(seen.error.is_none());
            let expected = if whole { Outcome::Completed } else { Outcome::Truncated };
            assert_eq!(ending.outcome, expected, "by {size}: {sent}");
            assert_eq!(seen.data == sent, whole, "by {size}: {sent}");
        }
        let script = events.into_iter().fold(Script::new(), Script::data);
        let (seen, _, _) = read(path, SSE, script).await;
        assert_eq!(seen.data == sent, whole, "event by event: {sent}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bedrock_stream_is_whole_with_its_last_event_and_broken_without() {
    let says =
        bedrock::event("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"hi"}}"#);
    let stop = bedrock::event("messageStop", r#"{"stopReason":"end_turn"}"#);
    let metadata = bedrock::event("metadata", "{}");
    let words = bedrock::chunk(
        r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"hi"}}"#,
    );
    let last = bedrock::chunk(r#"{"type":"message_stop"}"#);
    let llama = bedrock::chunk(r#"{"generation":"hi","stop_reason":null}"#);
    let stopped = bedrock::chunk(r#"{"generation":"","stop_reason":"stop"}"#);
    for (path, events, whole) in [
        (CONVERSE, vec![&says], false),
        (CONVERSE, vec![&says, &stop], true),
        (CONVERSE, vec![&stop, &says], false),
        (CONVERSE, vec![&says, &stop, &metadata], true),
        (CONVERSE, vec![&says, &metadata], true),
        (INVOKE, vec![&words], false),
        (INVOKE, vec![&words, &last], true),
        (INVOKE, vec![&llama], false),
        (INVOKE, vec![&llama, &stopped], true),
        (INVOKE, vec![&stopped, &llama], false),
    ] {
        let script = events.iter().fold(Script::new(), |script, event| script.data(event.to_vec()));
        let (seen, _, ending) = read(path, FRAMES, script).await;
        let expected = if whole { Outcome::Completed } else { Outcome::Truncated };
        assert_eq!((seen.error.is_none(), ending.outcome), (whole, expected), "{path} {events:?}");
    }
}
