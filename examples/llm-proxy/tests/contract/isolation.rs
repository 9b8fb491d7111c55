//! Nobody gets another's answer: which requests are equal, and which are none that could be.

use testkit::{Gate, H1, Play, Upstream};

use crate::{
    client::{Client, End, WIRES, Wire, h1_post},
    common::{LIMIT, Proxy},
};

const CHAT: &str = "/v1/chat/completions";
const ON: &str = "--replay=60s";

/// An answer with these headers that says which call it is for, the first part of it at once.
fn call(n: usize, headers: &str, gate: Option<&Gate>) -> Play {
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n";
    let play = Play::new().send(format!("{head}{headers}content-type: text/plain\r\n\r\n"));
    let play = gate.into_iter().fold(play.chunk("call "), Play::wait);
    play.chunk(n.to_string()).last_chunk()
}

/// As many calls as there may be.
async fn upstream(headers: &str) -> Upstream {
    Upstream::start((0..200).map(|n| call(n, headers, None))).await
}

/// What is answered, and what `x-replay` says of it.
async fn asked(
    wire: Wire,
    proxy: &Proxy,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (String, String) {
    let (mut client, replay) = Client::post(wire, proxy, path, headers, body).await;
    let (answer, end) = client.rest().await;
    assert_eq!((client.status, end), (200, End::Clean), "{answer}");
    // What was just recorded is there for the next one.
    proxy.ending_of(&client.id).await;
    (replay, answer)
}

fn miss(call: usize) -> (String, String) {
    ("miss".to_owned(), format!("call {call}"))
}

fn hit(call: usize) -> (String, String) {
    ("hit".to_owned(), format!("call {call}"))
}

/// Two clients who differ in this header alone ask at once, and two more in turn. Each has to get what the upstream said to his
/// own request.
async fn are_kept_apart(wire: Wire, path: &str, name: &str, replayed: bool) {
    let gate = Gate::new();
    let plays = (0..5).map(|n| call(n, "", (n < 2).then_some(&gate)));
    let upstream = Upstream::start(plays).await;
    let proxy = Proxy::before(upstream.addr(), &[ON]).await;
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let told = format!("{wire:?} {path} {name}");

    let mut running = Vec::new();
    for value in ["A", "B"] {
        let (client, replay) = Client::post(wire, &proxy, path, &[(name, value)], body).await;
        assert_eq!(replay, "miss", "{told}: {value}");
        running.push(client);
    }
    gate.open();
    for (n, client) in running.iter_mut().enumerate() {
        assert_eq!(client.rest().await.0, format!("call {n}"), "{told}, at once");
        proxy.ending_of(&client.id).await;
    }
    for (n, value) in [(2, "C"), (3, "D")] {
        let answer = asked(wire, &proxy, path, &[(name, value)], body).await;
        assert_eq!(answer, miss(n), "{told}, in turn");
    }
    for (n, conn) in upstream.conns().iter().enumerate().filter(|_| name != "accept-encoding") {
        let seen = conn.head.as_ref().unwrap().header(name);
        assert_eq!(seen, Some(["A", "B", "C", "D"][n]), "{told}: call {n}");
    }
    let again = asked(wire, &proxy, path, &[(name, "A")], body).await;
    assert_eq!(again, if replayed { hit(0) } else { miss(4) }, "{told}, again");
}

#[tokio::test]
async fn two_sessions_of_mcp_never_share_an_answer() {
    for wire in WIRES {
        are_kept_apart(wire, "/mcp", "mcp-session-id", false).await;
    }
}

#[tokio::test]
async fn whatever_header_tells_two_clients_apart_each_gets_his_own_answer() {
    for (n, name) in [
        "authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "ocp-apim-subscription-key",
        "x-amz-security-token",
        "cookie",
        "openai-organization",
        "openai-project",
        "anthropic-beta",
        "anthropic-version",
        "mcp-session-id",
        "x-forwarded-user",
        "x-forwarded-for",
        "forwarded",
        "x-real-ip",
        "cf-connecting-ip",
        "accept",
        "accept-encoding",
        "content-type",
        "x-nobody-knows",
    ]
    .into_iter()
    .enumerate()
    {
        are_kept_apart(WIRES[n % 2], CHAT, name, true).await;
    }
}

#[tokio::test]
async fn what_has_an_idempotency_key_reaches_the_upstream_each_time() {
    for wire in WIRES {
        let gate = Gate::new();
        let plays = (0..4).map(|n| call(n, "", (n < 2).then_some(&gate)));
        let upstream = Upstream::start(plays).await;
        let proxy = Proxy::before(upstream.addr(), &[ON]).await;
        let once = [("idempotency-key", "one")];
        let (mut first, _) = Client::post(wire, &proxy, CHAT, &once, "{}").await;
        let (mut second, replay) = Client::post(wire, &proxy, CHAT, &once, "{}").await;
        assert_eq!(replay, "miss");
        gate.open();
        assert_eq!(
            (first.rest().await.0, second.rest().await.0),
            ("call 0".into(), "call 1".into())
        );
        assert_eq!(asked(wire, &proxy, CHAT, &once, "{}").await, miss(2));
        assert_eq!(upstream.conns().len(), 3);
    }
}

#[tokio::test]
async fn what_begins_changes_or_reads_something_reaches_the_upstream_each_time() {
    let upstream = upstream("").await;
    let proxy = Proxy::before(upstream.addr(), &[ON]).await;
    let mut calls = 0;
    for (path, body) in [
        ("/v1/threads", "{}"),
        ("/v1/threads/thread_1/messages", "{}"),
        ("/v1/messages/count_tokens", "{}"),
        ("/v1/messages/batches", "{}"),
        ("/v1/embeddings/x", "{}"),
        ("/v1/chat/completions/chatcmpl_1", "{}"),
        ("/v1/responses/resp_1/cancel", "{}"),
        ("/v1/files", "{}"),
        ("/mcp", "{}"),
        ("/", "{}"),
        (CHAT, r#"{"messages":[],"store":true}"#),
        (CHAT, r#"{"store":false,"store":true}"#),
        (CHAT, "hello"),
        (CHAT, ""),
        ("/v1/responses", "{}"),
        ("/v1/responses", r#"{"store":true}"#),
        ("/v1/responses", r#"{"store":false,"background":true}"#),
        ("/v1/responses", r#"{"store":false,"conversation":"conv_1"}"#),
        ("/v1/responses", r#"{"store":false,"previous_response_id":"resp_1"}"#),
        ("/v1/responses", r#"{"metadata":{"store":false}}"#),
    ] {
        for wire in WIRES {
            for _ in 0..2 {
                let answer = asked(wire, &proxy, path, &[], body).await;
                assert_eq!(answer, miss(calls), "{wire:?} {path} {body}");
                calls += 1;
            }
        }
    }
    for _ in 0..2 {
        let mut client = Client::get(Wire::H1, &proxy, CHAT).await;
        assert_eq!(client.rest().await.0, format!("call {calls}"), "a GET");
        calls += 1;
    }
    assert_eq!(upstream.conns().len(), calls);
}

#[tokio::test]
async fn calls_that_leave_nothing_behind_are_served_again_under_any_base() {
    let upstream = upstream("").await;
    let proxy = Proxy::before(upstream.addr(), &[ON]).await;
    for (n, (path, body)) in [
        (CHAT, r#"{"store":false}"#),
        ("/openai/v1/chat/completions", r#"{"messages":[{"store":true}]}"#),
        ("/v1/completions", "{}"),
        ("/v1/embeddings", "{}"),
        ("/v1/messages", "{}"),
        ("/anthropic/v1/messages?beta=true", "{}"),
        ("/v1beta/models/m:generateContent", "{}"),
        ("/v1beta/models/m:streamGenerateContent?alt=sse", "{}"),
        ("/v1/responses", r#"{"store":false,"previous_response_id":null}"#),
        ("/v2/chat", "{}"),
        ("/v1/chat", "{}"),
    ]
    .into_iter()
    .enumerate()
    {
        // Those of which a half-finished stream would be known are plain text here, which has no terminator.
        assert_eq!(asked(Wire::H1, &proxy, path, &[], body).await, miss(n), "{path}");
        assert_eq!(asked(Wire::H2, &proxy, path, &[], body).await, hit(n), "{path}");
        assert_eq!(asked(Wire::H1, &proxy, path, &[], body).await, hit(n), "{path}");
    }
}

#[tokio::test]
async fn requests_differ_in_authority_path_query_and_body() {
    let upstream = upstream("").await;
    let proxy = Proxy::before(upstream.addr(), &[ON]).await;
    let mut calls = 0..;
    for (path, body) in [
        (CHAT, "{}"),
        (CHAT, "{ }"),
        ("/v1/chat/completions?a", "{}"),
        ("/v1/chat/completions?a=", "{}"),
        ("/chat/completions", "{}"),
        ("/v1/chat/completions/", "{}"),
    ] {
        let n = calls.next().unwrap();
        assert_eq!(asked(Wire::H1, &proxy, path, &[], body).await, miss(n), "{path} {body}");
        assert_eq!(asked(Wire::H2, &proxy, path, &[], body).await, hit(n), "{path} {body}");
    }
    for expected in ["miss", "hit"] {
        let request = h1_post(CHAT, &[], "{}").replace("host: test", "host: other");
        let mut client = H1::connect(proxy.addr).await.unwrap();
        client.send(request).await.unwrap();
        let head = client.read_head(LIMIT).await.unwrap();
        assert_eq!(head.header("x-replay"), Some(expected), "another host");
        proxy.ending_of(head.header("x-exchange-id").unwrap()).await;
    }
}

#[tokio::test]
async fn what_can_change_nothing_and_what_names_one_request_for_tracing_makes_no_difference() {
    let upstream = upstream("").await;
    let proxy = Proxy::before(upstream.addr(), &[ON]).await;
    assert_eq!(asked(Wire::H1, &proxy, CHAT, &[], "{}").await, miss(0));
    for name in [
        "date",
        "user-agent",
        "via",
        "traceparent",
        "tracestate",
        "baggage",
        "b3",
        "x-b3-traceid",
        "x-b3-spanid",
        "x-request-id",
        "x-correlation-id",
        "x-client-request-id",
        "x-ms-client-request-id",
        "request-id",
        "x-amzn-trace-id",
        "x-cloud-trace-context",
        "cf-ray",
        "x-request-start",
        "sentry-trace",
        "x-datadog-trace-id",
        "x-datadog-sampling-priority",
        "uber-trace-id",
        "x-envoy-attempt-count",
        "x-envoy-expected-rq-timeout-ms",
        "x-stainless-lang",
        "x-stainless-retry-count",
        "X-Stainless-OS",
    ] {
        let wires: &[Wire] = if name.starts_with('X') { &[Wire::H1] } else { &WIRES };
        for wire in wires {
            let answer = asked(*wire, &proxy, CHAT, &[(name, "1")], "{}").await;
            assert_eq!(answer, hit(0), "{wire:?} {name}");
        }
    }
    // These are for a connection, which HTTP/2 has none of, but for trailers.
    for (name, value) in
        [("connection", "keep-alive"), ("keep-alive", "timeout=5"), ("te", "trailers")]
    {
        assert_eq!(asked(Wire::H1, &proxy, CHAT, &[(name, value)], "{}").await, hit(0), "{name}");
    }
    assert_eq!(asked(Wire::H2, &proxy, CHAT, &[("te", "trailers")], "{}").await, hit(0));
    assert_eq!(upstream.conns().len(), 1);
}

#[tokio::test]
async fn an_answer_that_varies_is_for_those_who_say_the_same_though_the_header_is_on_the_list() {
    for wire in WIRES {
        let gate = Gate::new();
        let vary = "vary: accept, User-Agent\r\n";
        let plays = (0..9).map(|n| call(n, vary, (n < 2).then_some(&gate)));
        let upstream = Upstream::start(plays).await;
        let proxy = Proxy::before(upstream.addr(), &[ON]).await;
        let agent = |name| [("user-agent", name)];
        // While it runs.
        let mut running = Vec::new();
        for (name, expected) in [("a", "miss"), ("b", "miss"), ("a", "join")] {
            let (client, replay) = Client::post(wire, &proxy, CHAT, &agent(name), "{}").await;
            assert_eq!(replay, expected, "{wire:?} {name}");
            running.push(client);
        }
        gate.open();
        for (client, n) in running.iter_mut().zip([0, 1, 0]) {
            assert_eq!(client.rest().await.0, format!("call {n}"));
            proxy.ending_of(&client.id).await;
        }
        // And when it is over: of the two, one was kept last.
        let first = asked(wire, &proxy, CHAT, &agent("a"), "{}").await;
        assert!(first == hit(0) || first == miss(2), "{first:?}");
        let n = if first == hit(0) { 0 } else { 2 };
        assert_eq!(asked(wire, &proxy, CHAT, &agent("a"), "{}").await, hit(n));
        let other = asked(wire, &proxy, CHAT, &agent("c"), "{}").await;
        assert_eq!(other.0, "miss");
        assert_eq!(asked(wire, &proxy, CHAT, &[], "{}").await.0, "miss");
    }
}

#[tokio::test]
async fn an_answer_that_varies_with_everything_is_for_one_only() {
    let gate = Gate::new();
    let plays = (0..3).map(|n| call(n, "vary: *\r\n", (n < 2).then_some(&gate)));
    let upstream = Upstream::start(plays).await;
    let proxy = Proxy::before(upstream.addr(), &[ON]).await;
    let (mut first, _) = Client::post(Wire::H1, &proxy, CHAT, &[], "{}").await;
    let (mut second, replay) = Client::post(Wire::H1, &proxy, CHAT, &[], "{}").await;
    assert_eq!(replay, "miss");
    gate.open();
    assert_eq!((first.rest().await.0, second.rest().await.0), ("call 0".into(), "call 1".into()));
    assert_eq!(asked(Wire::H1, &proxy, CHAT, &[], "{}").await, miss(2));
}

#[tokio::test]
async fn the_paths_that_are_named_are_served_again_too_where_it_is_a_post() {
    let upstream = upstream("").await;
    let options = [ON, "--replay-path=/mcp", "--replay-path", "/v1/rerank"];
    let proxy = Proxy::before(upstream.addr(), &options).await;
    let session = |id| [("mcp-session-id", id)];
    for (n, path) in ["/mcp", "/mcp/x", "/v1/rerank"].into_iter().enumerate() {
        assert_eq!(asked(Wire::H1, &proxy, path, &session("A"), "x").await, miss(2 * n), "{path}");
        assert_eq!(asked(Wire::H2, &proxy, path, &session("A"), "x").await, hit(2 * n), "{path}");
        assert_eq!(asked(Wire::H1, &proxy, path, &session("B"), "x").await, miss(2 * n + 1));
    }
    for n in 6..8 {
        assert_eq!(Client::get(Wire::H1, &proxy, "/mcp").await.rest().await.0, format!("call {n}"));
    }
    for n in 8..10 {
        assert_eq!(asked(Wire::H1, &proxy, "/v1/threads", &[], "x").await, miss(n));
    }
    assert_eq!(asked(Wire::H1, &proxy, CHAT, &[], "{}").await, miss(10), "and the others as ever");
    assert_eq!(asked(Wire::H1, &proxy, CHAT, &[], "{}").await, hit(10));
}

#[tokio::test]
async fn headers_that_are_named_make_no_difference_unless_the_answer_varies_with_them() {
    for vary in [false, true] {
        let upstream = upstream(if vary { "vary: x-real-ip\r\n" } else { "" }).await;
        let options = [ON, "--replay-ignore=X-Forwarded-For", "--replay-ignore=x-real-ip"];
        let proxy = Proxy::before(upstream.addr(), &options).await;
        let from = |address| [("x-forwarded-for", address), ("x-real-ip", address)];
        assert_eq!(asked(Wire::H1, &proxy, CHAT, &from("192.0.2.1"), "{}").await, miss(0));
        assert_eq!(asked(Wire::H2, &proxy, CHAT, &from("192.0.2.1"), "{}").await, hit(0));
        let other = asked(Wire::H2, &proxy, CHAT, &from("192.0.2.2"), "{}").await;
        assert_eq!(other, if vary { miss(1) } else { hit(0) });
        let user = [("x-forwarded-user", "a")];
        assert_eq!(asked(Wire::H1, &proxy, CHAT, &user, "{}").await.0, "miss");
    }
}
