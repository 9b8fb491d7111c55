//! Which requests leave nothing behind, so that one call can do for several.

use bytes::Bytes;

use super::*;
use crate::replay::MakeKey;

fn may(method: Method, path: &str, body: &str) -> bool {
    may_by(&RequestKey::new(), method, path, body)
}

fn may_by(key: &RequestKey, method: Method, path: &str, body: &str) -> bool {
    let request = Request::builder().method(method).uri(path).body(()).unwrap().into_parts().0;
    let key_of = |pieces: &[&str]| {
        let pieces: Vec<_> =
            pieces.iter().map(|piece| Bytes::copy_from_slice(piece.as_bytes())).collect();
        key.key(&request, &pieces)
    };
    let whole = key_of(&[body]);
    let (a, b) = body.split_at(body.len() / 2);
    assert_eq!(key_of(&[a, b]), whole, "{path} {body}: it depends on how it comes");
    whole.is_some()
}

/// Of them, whatever is in the body.
const CALLS: [&str; 11] = [
    "/v1/embeddings",
    "/openai/deployments/d/embeddings",
    "/v1/messages",
    "/anthropic/v1/messages/",
    "/v1beta/models/gemini-9:generateContent",
    "/v1/projects/p/locations/l/publishers/google/models/m:streamGenerateContent?alt=sse",
    "/api/chat",
    "/api/generate",
    "/ollama/api/embed",
    "/v2/chat",
    "/v1/chat",
];
const CHATS: [&str; 5] = [
    "/v1/chat/completions",
    "/chat/completions",
    "/openai/deployments/d/chat/completions?api-version=1",
    "/v1/completions",
    "/v1/fim/completions",
];

#[test]
fn calls_of_language_models_have_a_key_under_any_base() {
    for path in CALLS.into_iter().chain(CHATS) {
        assert!(may(Method::POST, path, "{\"model\":\"m\"}"), "{path}");
    }
    for path in ["/v1/responses", "/openai/responses?api-version=1"] {
        assert!(may(Method::POST, path, "{\"store\":false}"), "{path}");
    }
}

#[test]
fn only_a_post_has() {
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH, Method::HEAD] {
        for path in CALLS.into_iter().chain(CHATS) {
            assert!(!may(method.clone(), path, "{}"), "{method} {path}");
        }
    }
}

#[test]
fn what_begins_or_changes_or_reads_something_has_none() {
    for path in [
        "/",
        "/mcp",
        "/v1/threads",
        "/v1/threads/thread_1/messages",
        "/v1/threads/thread_1/runs",
        "/v1/messages/count_tokens",
        "/v1/messages/batches",
        "/v1/messages/batches/b/cancel",
        "/v1/embeddings/x",
        "/v1/batches",
        "/v1/files",
        "/v1/images/generations",
        "/v1/audio/speech",
        "/v1/chat/completions/chatcmpl-1",
        "/v1/responses/resp_1",
        "/v1/responses/resp_1/cancel",
        "/v1/responses/input_tokens",
        "/v1/conversations",
        "/v1beta/models/m:countTokens",
        "/v1beta/models/m:batchGenerateContent",
        "/v1beta/models/m:embedContent",
        "/v1/projects/p/publishers/anthropic/models/m:rawPredict",
        "/v1/projects/p/publishers/anthropic/models/count-tokens:rawPredict",
        "/model/m/invoke",
        "/model/m/converse",
        "/api/pull",
        "/api/create",
        "/v1/chats",
        "/v3/chat",
        "/xcompletions",
        "/v1/chat/completions2",
        "/v1/xmessages",
        "/v1/messages;x",
        "/v1%2fmessages",
    ] {
        assert!(!may(Method::POST, path, "{\"store\":false}"), "{path}");
    }
}

const ASKS_TO_KEEP: [&str; 10] = [
    r#"{"store":true}"#,
    r#"{"model":"m","messages":[{"store":false}],"store" : true }"#,
    r#"{"store":false,"store":true}"#,
    r#"{"store":true,"store":false}"#,
    r#"{"\u0073tore":true}"#,
    r#"{"store":"true"}"#,
    r#"{"store":1}"#,
    r#"{"store":{}}"#,
    r#"{"store":"null"}"#,
    r#"{"store":[false]}"#,
];

#[test]
fn a_chat_that_is_to_be_stored_has_none_wherever_and_however_that_is_said() {
    for path in CHATS {
        for body in ASKS_TO_KEEP {
            assert!(!may(Method::POST, path, body), "{path} {body}");
        }
        assert!(!may(Method::POST, path, r#"{"deferred":true}"#), "{path}");
        for body in [
            "{}",
            r#" {"store":false,"deferred":null} "#,
            r#"{"store":null}"#,
            r#"{"metadata":{"store":true},"messages":[{"store":true}],"x":"\"store\":true"}"#,
            r#"{"Store":true,"store_":true}"#,
        ] {
            assert!(may(Method::POST, path, body), "{path} {body}");
        }
    }
}

#[test]
fn a_response_has_a_key_only_if_it_says_that_it_is_not_stored_and_goes_on_from_nothing() {
    for body in [
        "{}",
        r#"{"store":null}"#,
        r#"{"store":0}"#,
        r#"{"x":{"store":false}}"#,
        r#"{"store":false,"background":true}"#,
        r#"{"store":false,"conversation":"conv_1"}"#,
        r#"{"store":false,"conversation":{"id":"conv_1"}}"#,
        r#"{"previous_response_id":"resp_1","store":false}"#,
        r#"{"previous_response_id":"","store":false}"#,
        r#"{"previous_response_id":null,"previous_response_id":"resp_1","store":false}"#,
    ]
    .into_iter()
    .chain(ASKS_TO_KEEP)
    {
        assert!(!may(Method::POST, "/v1/responses", body), "{body}");
    }
    for body in [
        r#"{"store":false}"#,
        r#"{"store":false,"store":false}"#,
        r#"{"previous_response_id":null,"conversation":null,"background":false,"store":false}"#,
        r#"{"input":[{"background":true,"conversation":"c"}],"store":false}"#,
    ] {
        assert!(may(Method::POST, "/v1/responses", body), "{body}");
    }
}

#[test]
fn a_chat_that_goes_on_or_is_remembered_has_none() {
    for body in [r#"{"message":"hi","conversation_id":"c"}"#, r#"{"model":"m","input":"hi"}"#] {
        assert!(!may(Method::POST, "/v1/chat", body), "{body}");
    }
    assert!(!may(Method::POST, "/api/v1/chat", r#"{"model":"m","input":"hi","store":true}"#));
}

#[test]
fn a_body_that_can_not_be_read_for_what_it_asks_has_none() {
    for path in ["/v1/chat/completions", "/v1/responses", "/v1/chat"] {
        for body in [
            "",
            "hello",
            "[]",
            "null",
            "\"store\"",
            r#"{"store":false"#,
            r#"{"store":false}}"#,
            r#"{"store":false} {"store":true}"#,
            r#"{"store":false,}"#,
            "\u{feff}{\"store\":false}",
        ] {
            assert!(!may(Method::POST, path, body), "{path} {body}");
        }
        let key = |coding: &str| {
            let request = Request::post(path).header("content-encoding", coding);
            let request = request.body(()).unwrap().into_parts().0;
            RequestKey::new().key(&request, &["{\"store\":false}".into()])
        };
        assert_eq!(key("gzip"), None, "{path}");
        assert!(key("identity").is_some(), "{path}");
    }
}

#[test]
fn a_large_or_deep_body_is_read_all_the_same() {
    let deep = format!("{{\"x\":{}1{},\"store\":true}}", "[".repeat(5000), "]".repeat(5000));
    assert!(!may(Method::POST, "/v1/completions", &deep));
    let large = format!("{{\"x\":\"{}\",\"store\":true}}", "x".repeat(300_000));
    assert!(!may(Method::POST, "/v1/completions", &large));
}

#[test]
fn other_paths_have_a_key_by_method_and_prefix_where_that_is_said_and_known_ones_stay_as_they_are()
{
    let key = RequestKey::new().also(Method::POST, "/mcp").also(Method::PUT, "/v1/");
    for (method, path, expected) in [
        (Method::POST, "/mcp", true),
        (Method::POST, "/mcp/x?y", true),
        (Method::POST, "/mc", false),
        (Method::POST, "/x/mcp", false),
        (Method::GET, "/mcp", false),
        (Method::PUT, "/v1/threads", true),
        (Method::POST, "/v1/threads", false),
    ] {
        assert_eq!(may_by(&key, method.clone(), path, "x"), expected, "{method} {path}");
    }
    let all = RequestKey::new().also(Method::POST, "/");
    assert!(may_by(&all, Method::POST, "/v1/threads", "x"));
    assert!(!may_by(&all, Method::POST, "/v1/responses", "{}"));
    assert!(!may_by(&all, Method::POST, "/v1/chat/completions", "{\"store\":true}"));
}
