//! More answers than one may be asked for.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use testkit::{Script, drain};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::{
    tee::{Sink, TeeBody, TeeLayer, TeeRequestLayer},
    usage::{RequestMeter, TerminatorGuardLayer},
};

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";
const GEMINI: &str = "/v1beta/models/m:streamGenerateContent";

/// Whether a stream of so many finished answers is whole for this request, which comes in pieces of this size; with the layer
/// that reads the request outside of the meter, and inside of it.
async fn is_whole(path: &str, asked: &str, size: usize, answers: usize) -> [bool; 2] {
    let openai = path != GEMINI;
    let event = |index| match openai {
        true => {
            format!("data: {{\"choices\":[{{\"index\":{index},\"finish_reason\":\"stop\"}}]}}\n\n")
        }
        false => format!(
            "data: {{\"candidates\":[{{\"index\":{index},\"finishReason\":\"STOP\"}}]}}\n\n"
        ),
    };
    let events: String = (0..answers).map(event).collect();
    let answer = service_fn(move |request: Request<TeeBody<Script, RequestMeter>>| {
        let script = Script::new().data(events.clone());
        async move {
            request.into_body().collect().await.unwrap();
            let response = Response::builder().header("content-type", "text/event-stream");
            Ok::<_, Infallible>(response.body(script).unwrap())
        }
    });
    let guarded = || ServiceBuilder::new().layer(TerminatorGuardLayer);
    let outside = guarded().layer(TeeRequestLayer::usage()).layer(TeeLayer::usage());
    let inside = guarded().layer(TeeLayer::usage()).layer(TeeRequestLayer::usage());
    let request = || {
        let pieces = asked.as_bytes().chunks(size).map(Bytes::copy_from_slice);
        Request::post(path).body(pieces.fold(Script::new(), Script::data)).unwrap()
    };
    let Ok(outside) = outside.service(answer.clone()).oneshot(request()).await;
    let Ok(inside) = inside.service(answer).oneshot(request()).await;
    let seen = [drain(outside.into_body()).await, drain(inside.into_body()).await];
    seen.map(|seen| seen.error.is_none())
}

#[test]
fn each_of_several_prompts_has_as_many_answers_as_are_asked_for() {
    let asked = |request: &str| {
        let exchange = crate::exchange::Exchange::of(&mut Request::new(()));
        let mut meter = RequestMeter::for_path(COMPLETIONS, Some(&exchange));
        meter.data(Bytes::copy_from_slice(request.as_bytes()));
        crate::usage::asked::Asked::of(&exchange)
    };
    assert_eq!(asked("{\"prompt\":[\"a\",\"b\"],\"n\":2}"), Some(4));
    assert_eq!(asked(&format!("{{\"prompt\":[\"a\",\"b\"],\"n\":{}}}", u64::MAX)), Some(u64::MAX));
    assert_eq!(asked("{\"prompt\":[]}"), None);
}

#[tokio::test]
async fn as_many_answers_as_were_asked_for_have_to_be_there() {
    let text = "x".repeat(3000);
    let long = format!("{{\"messages\":[{{\"n\":7,\"content\":\"{text}\\\"n\\\":7\"}}],\"n\":2}}");
    for (path, request, needed) in [
        (CHAT, "{\"n\":2}", 2),
        (CHAT, "{\"n\":1}", 1),
        (CHAT, "{\"n\":null,\"model\":\"m\"}", 1),
        (CHAT, "{\"n\":0}", 1),
        (CHAT, "{\"tools\":{\"n\":3}}", 1),
        (CHAT, &long, 2),
        (CHAT, "", 1),
        (CHAT, "no JSON", 1),
        (CHAT, "{\"prompt\":[\"a\",\"b\"]}", 1),
        (COMPLETIONS, "{\"prompt\":\"a\"}", 1),
        (COMPLETIONS, "{\"prompt\":[\"a\",\"b\"]}", 2),
        (COMPLETIONS, "{\"prompt\":[\"a\"],\"n\":3}", 3),
        (COMPLETIONS, "{\"n\":1,\"prompt\":[\"a\",\"\",\"c\"]}", 3),
        (COMPLETIONS, "{\"prompt\":[\"a\",\"b\",\"c\"],\"prompt\":[[1,2],[3]]}", 2),
        (COMPLETIONS, "{\"prompt\":[1,2,3],\"stop\":[\"a\",\"b\"]}", 1),
        (GEMINI, "{\"generationConfig\":{\"candidateCount\":3}}", 3),
        (GEMINI, "{\"generation_config\":{\"candidate_count\":3}}", 3),
        (GEMINI, "{\"candidateCount\":3}", 1),
    ] {
        for size in [1, 5, 10_000] {
            for answers in 1..=3 {
                let whole = is_whole(path, request, size, answers).await;
                assert_eq!(whole, [answers >= needed; 2], "{answers} answers to {request}");
            }
        }
    }
}
