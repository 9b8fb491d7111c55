//! The ready-made final frames, to the byte.

use std::io;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    abort::{AbortKind, AbortReason},
    error::ErrorChain,
    exchange::{Cause, Exchange},
    sse::tests::reference::parse,
    timeouts::{Limit, tests::hit},
};

const EARLY: &str = "the upstream's answer ended before it was complete";

/// Asks `choose` about a body that failed with "boom".
fn ask(choose: impl Fn(&Failure<'_>) -> Final, media: Media, cause: &Cause) -> Final {
    let (exchange, error) = (Exchange::new(), BoxError::from("boom"));
    choose(&Failure { exchange: &exchange, cause, error: &error, media, message: None })
}

fn sse(cause: &Cause) -> Bytes {
    let Final::Data(data) = ask(Final::sse_error, Media::EventStream, cause) else {
        panic!("no event");
    };
    data
}

fn aborted(reason: impl Into<AbortReason>) -> Cause {
    Cause::Aborted(reason.into())
}

fn failed(reason: Option<&'static str>, error: Option<&str>) -> Cause {
    let error = error.map(|error| ErrorChain::of(&io::Error::other(error)));
    Cause::Failed { reason: reason.map(Into::into), error }
}

#[test]
fn the_sse_event_names_type_message_and_code_in_this_order() {
    let overload = AbortReason::new(AbortKind::Overload).with_text("too many streams");
    let expect = [
        (aborted("operator"), "aborted", "operator", "aborted"),
        (aborted(AbortKind::Shutdown), "aborted", "shutdown", "shutdown"),
        (aborted(overload), "aborted", "too many streams", "overload"),
        (hit(Limit::Idle), "timeout", "idle timeout: no progress for 120s", "idle"),
        (failed(None, Some("reset by peer")), "upstream", "the upstream failed", "failed"),
        (failed(Some("dns"), Some("no such host")), "upstream", "the upstream failed", "dns"),
        (failed(Some("dns"), None), "upstream", "the upstream failed", "dns"),
        (Cause::Truncated, "upstream", EARLY, "truncated"),
        (Cause::Disconnected, "upstream", "the answer ended early", "disconnected"),
    ];
    for (cause, kind, message, code) in expect {
        let object = format!(
            r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}","code":"{code}"}}}}"#
        );
        assert_eq!(sse(&cause), format!("event: error\ndata: {object}\n\n"));
        let Final::Data(line) = ask(Final::ndjson_error, Media::Ndjson, &cause) else {
            panic!("no line");
        };
        assert_eq!(line, format!("{object}\n"));
    }
}

#[test]
fn the_message_of_a_panic_is_not_for_clients() {
    let cause = Cause::Panicked("secret at line 7".into());
    let expect = r#"{"type":"error","error":{"type":"upstream","message":"internal error","code":"panicked"}}"#;
    assert_eq!(sse(&cause), format!("event: error\ndata: {expect}\n\n"));
    let Final::Trailers(trailers) = ask(Final::grpc_status, Media::Grpc, &cause) else {
        panic!("no trailers");
    };
    assert_eq!(
        (&trailers["grpc-status"], &trailers["grpc-message"]),
        (&"13".parse().unwrap(), &"internal error".parse().unwrap())
    );
}

#[test]
fn an_error_is_told_to_a_client_only_by_who_asks_for_it() {
    let url = "error sending request for url (https://10.0.0.7/v1?key=secret)";
    let cause = failed(None, Some(url));
    let (grpc, lines) = (Media::Grpc, Media::Ndjson);
    let frames = [
        ask(Final::by_media, Media::EventStream, &cause),
        ask(Final::by_media, lines, &cause),
        ask(Final::by_media, grpc, &cause),
    ];
    for frame in frames {
        let told = format!("{frame:?}");
        assert!(told.contains("the upstream failed"), "{told}");
        assert!(!told.contains("secret") && !told.contains("10.0.0.7"), "{told}");
    }
    let more = |failure: &Failure<'_>| {
        let error = failure.cause.error().unwrap().to_string();
        Final::by_media(&failure.with_message(error))
    };
    let Final::Data(line) = ask(more, lines, &cause) else { panic!("no line") };
    assert!(String::from_utf8_lossy(&line).contains(url));
}

#[test]
fn a_reason_with_quotes_line_ends_and_control_characters_is_escaped() {
    let wire = sse(&aborted("say \"hi\"\\\r\n\n\0\u{1b}\t\u{e9}\u{2028}"));
    let text = r#"say \"hi\"\\\r\n\n\u0000\u001b\t"#.to_owned() + "\u{e9}\u{2028}";
    let expect = format!(
        "event: error\ndata: {{\"type\":\"error\",\"error\":{{\"type\":\"aborted\",\"message\":\"{text}\",\"code\":\"aborted\"}}}}\n\n"
    );
    assert_eq!(wire, expect);
}

proptest! {
    #[test]
    fn whatever_the_reason_a_client_reads_one_event_with_just_that(reason in any::<String>()) {
        let parsed = parse(&sse(&aborted(reason.clone())));
        prop_assert_eq!(parsed.events.len(), 1);
        prop_assert_eq!(&parsed.events[0].kind, "error");
        let object: Value = serde_json::from_str(&parsed.events[0].data).unwrap();
        let error = json!({"type": "aborted", "message": reason, "code": "aborted"});
        prop_assert_eq!(object, json!({"type": "error", "error": error}));
        let Final::Data(line) = ask(Final::ndjson_error, Media::Ndjson, &aborted(reason)) else {
            panic!("no line");
        };
        prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        prop_assert_eq!(line.last(), Some(&b'\n'));
    }
}

#[test]
fn the_grpc_code_says_what_happened() {
    let expect = [
        (aborted("stop"), "1", "stop"),
        (aborted(AbortKind::Deadline), "4", "deadline"),
        (aborted(AbortKind::Overload), "8", "overload"),
        (aborted(AbortKind::Shutdown), "14", "shutdown"),
        (aborted(AbortKind::Custom("quota".into())), "1", "quota"),
        (hit(Limit::Total), "4", "total timeout: not finished in 120s"),
        (aborted("50% gone"), "1", "50%25 gone"),
        (failed(None, Some("connect 10.0.0.7: refused")), "14", "the upstream failed"),
        (Cause::Truncated, "14", EARLY),
    ];
    for (cause, code, message) in expect {
        let Final::Trailers(trailers) = ask(Final::grpc_status, Media::Grpc, &cause) else {
            panic!("no trailers");
        };
        assert_eq!(trailers["grpc-status"], code, "{cause:?}");
        assert_eq!(trailers["grpc-message"], message, "{cause:?}");
        assert_eq!(trailers.len(), 2);
    }
}

#[test]
fn by_media_gives_each_media_its_own_and_others_the_error() {
    let cause = aborted("stop");
    let by_media = |media| format!("{:?}", ask(Final::by_media, media, &cause));
    let (events, lines, grpc) = (Media::EventStream, Media::Ndjson, Media::Grpc);
    assert_eq!(by_media(events), format!("{:?}", ask(Final::sse_error, events, &cause)));
    assert_eq!(by_media(lines), format!("{:?}", ask(Final::ndjson_error, lines, &cause)));
    assert_eq!(by_media(grpc), format!("{:?}", ask(Final::grpc_status, grpc, &cause)));
    assert_eq!(by_media(Media::Other), "Error");
}
