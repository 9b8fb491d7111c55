//! `GET /metrics`: what is counted, and that it reads as Prometheus wants it.

use std::time::Duration;

use testkit::{Gate, H1, How, Play, Upstream};

use self::text::Scrape;
use crate::{
    client::{Client, WIRES, Wire, chat},
    common::{LIMIT, Proxy},
};

mod text;

const DELTA: &str = "data: {\"object\":\"chat.completion.chunk\",\"model\":\"m-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n";
const USAGE: &str = "data: {\"object\":\"chat.completion.chunk\",\"model\":\"m-1\",\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":7,\"total_tokens\":19,\"prompt_tokens_details\":{\"cached_tokens\":8},\"completion_tokens_details\":{\"reasoning_tokens\":3}}}\n\n";
const DONE: &str = "data: [DONE]\n\n";
const HISTOGRAMS: [&str; 3] = ["time_to_head", "time_to_first_frame", "exchange_duration"];

/// What the admin listener answers: status, content type, body.
async fn ask(proxy: &Proxy, headers: &str) -> (u16, String, String) {
    let mut client = H1::connect(proxy.admin).await.unwrap();
    let request =
        format!("GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
    client.send(request).await.unwrap();
    let head = client.read_head(LIMIT).await.unwrap();
    let end = client.read_to_end(LIMIT).await;
    assert_ne!(end.how, How::TimedOut);
    let content_type = head.header("content-type").unwrap_or_default().to_owned();
    (head.status().unwrap(), content_type, String::from_utf8(end.bytes.to_vec()).unwrap())
}

async fn scrape(proxy: &Proxy) -> Scrape {
    let accept =
        "accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5\r\n";
    let (status, content_type, text) = ask(proxy, accept).await;
    assert_eq!(status, 200);
    assert_eq!(content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    Scrape::read(&text)
}

/// The value of one metric without labels.
pub(crate) async fn value(proxy: &Proxy, name: &str) -> f64 {
    scrape(proxy).await.value(name, &[])
}

/// How many exchanges ended in each way: outcome, reason, dialect.
fn ended(scrape: &Scrape) -> Vec<([&str; 3], f64)> {
    let exchanges = scrape.of("llm_proxy_exchanges_total");
    let named = |(labels, count): (_, f64)| {
        let [(outcome, a), (reason, b), (dialect, c)]: &[(String, String); 3] =
            <&[_; 3]>::try_from(labels as &[_]).unwrap();
        assert_eq!([&**outcome, reason, dialect], ["outcome", "reason", "dialect"]);
        ([&**a, &**b, &**c], count)
    };
    exchanges.map(named).collect()
}

fn tokens(scrape: &Scrape) -> [f64; 4] {
    ["input", "output", "cached", "reasoning"]
        .map(|kind| scrape.value("llm_proxy_tokens_total", &[("kind", kind)]))
}

#[tokio::test]
async fn before_anything_has_happened_everything_is_zero_and_well_named() {
    let scrape = scrape(&Proxy::start(&[]).await).await;
    let kinds: Vec<_> = scrape.kinds().collect();
    assert_eq!(
        kinds,
        [
            ("llm_proxy_captured_bytes", "gauge"),
            ("llm_proxy_draining_exchanges", "gauge"),
            ("llm_proxy_exchange_duration_seconds", "histogram"),
            ("llm_proxy_frame_gap_seconds", "histogram"),
            ("llm_proxy_ledger_errors", "counter"),
            ("llm_proxy_ledger_lost_endings", "counter"),
            ("llm_proxy_live_exchanges", "gauge"),
            ("llm_proxy_log_lines_dropped", "counter"),
            ("llm_proxy_time_to_first_frame_seconds", "histogram"),
            ("llm_proxy_time_to_head_seconds", "histogram"),
            ("llm_proxy_tokens", "counter"),
        ]
    );
    assert_eq!(scrape.of("llm_proxy_tokens_total").count(), 4);
    for (family, kind) in kinds {
        let suffix = match kind {
            "histogram" => "_count",
            "counter" => "_total",
            _ => "",
        };
        assert_eq!(scrape.value(&format!("{family}{suffix}"), &[]), 0.0, "{family}");
    }
}

#[tokio::test]
async fn each_exchange_is_counted_once_by_how_it_ended() {
    let proxy = Proxy::start(&["--idle-timeout=2s"]).await;
    for query in ["?reason=too%20much", "?reason=%22%7D%0Aidle", "", ""] {
        let client = Client::send(&proxy, chat("sim-stall=1")).await;
        assert_eq!(proxy.abort(&client.id, query).await.0, 200);
        proxy.ending_of(&client.id).await;
    }
    let mut completes = Client::send(&proxy, chat("sim-words=3-gap=0ms")).await;
    completes.rest().await;
    let mut leaves = Client::send(&proxy, chat("sim-stall=1")).await;
    leaves.read_until("\n\n").await;
    leaves.leave().await;
    let mut waits = Client::send(&proxy, chat("sim-stall=1-gap=0ms")).await;
    waits.rest().await;
    let mut refused = Client::send(&proxy, chat("sim-error=1-gap=0ms")).await;
    refused.rest().await;
    let rows = proxy.endings(8).await;

    let scrape = scrape(&proxy).await;
    let chat = "openai_chat";
    assert_eq!(
        ended(&scrape),
        [
            (["aborted", "aborted", chat], 2.0),
            (["aborted", "other", chat], 2.0),
            (["completed", "none", chat], 1.0),
            (["disconnected", "none", chat], 1.0),
            (["failed", "upstream_error_event", chat], 1.0),
            (["timed_out", "idle", chat], 1.0),
        ]
    );
    let sum = |field: &str| rows.iter().map(|row| row[field].as_f64().unwrap_or(0.0)).sum::<f64>();
    for (name, field) in HISTOGRAMS.into_iter().zip(["head_ms", "first_frame_ms", "elapsed_ms"]) {
        let told = rows.iter().filter(|row| row[field].is_u64()).count();
        let count = scrape.value(&format!("llm_proxy_{name}_seconds_count"), &[]);
        assert_eq!(count, told as f64, "{name}");
        let seconds = scrape.value(&format!("llm_proxy_{name}_seconds_sum"), &[]);
        assert!((seconds - sum(field) / 1000.0).abs() < 1e-6, "{name}: {seconds}");
    }
    // Only the one that waited for its limit took so long.
    let short = scrape.value("llm_proxy_exchange_duration_seconds_bucket", &[("le", "1.0")]);
    assert!((4.0..=7.0).contains(&short), "{short}");
}

// Each new value of a label would be a time series that stays for ever, and tells who asks what.
#[tokio::test]
async fn nothing_that_a_client_or_an_upstream_chooses_makes_a_time_series() {
    let plays = (0..).take(100).map(|n| {
        let model = DELTA.replace("m-1", &format!("model-{n}"));
        let error =
            format!("data: {{\"error\":{{\"message\":\"e\",\"type\":\"chosen-{n}\"}}}}\n\n");
        let play = Play::new().head_sse().chunk(model);
        if n % 2 == 0 { play.chunk(error).last_chunk() } else { play.stall() }
    });
    let upstream = Upstream::start(plays).await;
    let proxy = Proxy::before(upstream.addr(), &["--replay=60s"]).await;
    let mut ended = 0;
    let mut series = Vec::new();
    for round in 0..5 {
        for wire in WIRES {
            let chosen = format!("chosen-{round}-{wire:?}");
            let path = format!("/{chosen}/v1/chat/completions");
            let headers = [("authorization", &*chosen), ("user-agent", &*chosen)];
            let body = format!("{{\"model\":\"{chosen}\"}}");
            let (mut fails, _) = Client::post(wire, &proxy, &path, &headers, &body).await;
            fails.rest().await;
            let (stalls, _) = Client::post(wire, &proxy, &path, &headers, &body).await;
            proxy.abort(&stalls.id, &format!("?reason={chosen}")).await;
            ended += 2;
            proxy.endings(ended).await;
        }
        let (_, _, text) = ask(&proxy, "").await;
        assert!(!text.contains("chosen") && !text.contains("model-"), "{text}");
        series.push(text.lines().filter(|line| !line.starts_with('#')).count());
    }
    assert!(series.iter().all(|count| *count == series[0]), "{series:?}");
}

#[tokio::test]
async fn an_exchange_without_a_head_counts_for_its_duration_only() {
    let upstream = Upstream::start([Play::new().stall()]).await;
    let proxy = Proxy::before(upstream.addr(), &["--head-timeout=200ms"]).await;
    let mut client = H1::connect(proxy.addr).await.unwrap();
    client.get("/").await.unwrap();
    assert_eq!(client.read_head(LIMIT).await.unwrap().status(), Some(504));
    proxy.ending().await;
    let scrape = scrape(&proxy).await;
    assert_eq!(ended(&scrape), [(["timed_out", "head", "none"], 1.0)]);
    let counts =
        HISTOGRAMS.map(|name| scrape.value(&format!("llm_proxy_{name}_seconds_count"), &[]));
    assert_eq!(counts, [0.0, 0.0, 1.0]);
}

// A silence is told while its stream still lives, and the one before the first frame is none of these.
#[tokio::test]
async fn the_silences_between_two_frames_are_counted_as_they_end() {
    let pause = Duration::from_millis(300);
    let (second, third, end) = (Gate::new(), Gate::new(), Gate::new());
    let play = Play::new().head_sse().sleep(pause).chunk(DELTA).wait(&second).chunk(DELTA);
    let play = play.wait(&third).chunk(DELTA).wait(&end).chunk(DONE).last_chunk();
    let upstream = Upstream::start([play]).await;
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    let gaps = async || {
        let scrape = scrape(&proxy).await;
        let named = |suffix| scrape.value(&format!("llm_proxy_frame_gap_seconds_{suffix}"), &[]);
        (named("count"), named("sum"))
    };
    let mut client = Client::get(Wire::H1, &proxy, "/v1/chat/completions").await;
    client.read_until(DELTA).await;
    assert_eq!(gaps().await, (0.0, 0.0));

    tokio::time::sleep(pause).await;
    second.open();
    client.read_until(DELTA).await;
    let (count, first) = gaps().await;
    assert_eq!(count, 1.0);
    // The upstream's clock and the proxy's are not started together.
    assert!(first >= 0.9 * pause.as_secs_f64() && first < LIMIT.as_secs_f64(), "{first}");

    third.open();
    client.read_until(DELTA).await;
    end.open();
    client.rest().await;
    let (count, all) = gaps().await;
    assert_eq!(count, 3.0);
    assert!(all >= first, "{all}");
}

#[tokio::test]
async fn tokens_are_counted_by_kind_and_add_up() {
    let play = Play::new().head_sse().chunk([DELTA, USAGE, DONE].concat()).last_chunk();
    let upstream = Upstream::start([play]).await;
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    for (wire, times) in WIRES.into_iter().zip([1.0, 2.0]) {
        Client::get(wire, &proxy, "/v1/chat/completions").await.rest().await;
        proxy.endings(times as usize).await;
        assert_eq!(tokens(&scrape(&proxy).await), [12.0, 7.0, 8.0, 3.0].map(|each| each * times));
    }
}

#[tokio::test]
async fn the_gauges_follow_the_streams() {
    let gate = Gate::new();
    let play = Play::new().head_sse().chunk(DELTA).wait(&gate).chunk(DONE).last_chunk();
    let upstream = Upstream::start([play]).await;
    let proxy = Proxy::before(upstream.addr(), &["--drain=1m"]).await;
    let gauges = async || {
        let scrape = scrape(&proxy).await;
        ["live_exchanges", "draining_exchanges", "captured_bytes"]
            .map(|name| scrape.value(&format!("llm_proxy_{name}"), &[]))
    };
    let mut stays = Client::get(Wire::H1, &proxy, "/v1/chat/completions").await;
    stays.read_until(DELTA).await;
    let [live, draining, each] = gauges().await;
    assert_eq!([live, draining], [1.0, 0.0]);
    // Memory: the event, the head, and what a block costs.
    assert!((DELTA.len() as f64..2048.0).contains(&each), "{each}");
    let mut leaves = Client::get(Wire::H1, &proxy, "/v1/chat/completions").await;
    leaves.read_until(DELTA).await;
    assert_eq!(gauges().await, [2.0, 0.0, 2.0 * each]);
    leaves.leave().await;
    proxy.stream(|stream| stream["draining"] == true).await;
    assert_eq!(gauges().await, [2.0, 1.0, 2.0 * each]);
    gate.open();
    stays.rest().await;
    proxy.endings(2).await;
    let [live, draining, _] = gauges().await;
    assert_eq!([live, draining], [0.0, 0.0]);
    // What was kept goes with the last who holds the exchange, which may be a moment after its ending.
    let deadline = tokio::time::Instant::now() + LIMIT;
    while gauges().await[2] > 0.0 {
        assert!(tokio::time::Instant::now() < deadline, "it is kept for ever");
    }
}

#[tokio::test]
async fn with_a_token_nothing_is_told_without_it() {
    let proxy = Proxy::start(&["--admin-token=s3cret"]).await;
    for headers in ["", "authorization: Bearer wrong!\r\n"] {
        let (status, _, text) = ask(&proxy, headers).await;
        assert_eq!(status, 401);
        assert!(!text.contains("llm_proxy"), "{text}");
    }
    let (status, _, text) = ask(&proxy, "authorization: Bearer s3cret\r\n").await;
    assert!(status == 200 && text.contains("llm_proxy"), "{text}");
}

#[tokio::test]
async fn who_does_not_ask_for_open_metrics_gets_the_text_that_all_of_prometheus_reads() {
    let proxy = Proxy::start(&[]).await;
    for accept in ["", "accept: text/plain;version=0.0.4\r\n", "accept: */*\r\n"] {
        let (status, content_type, text) = ask(&proxy, accept).await;
        assert_eq!((status, &*content_type), (200, "text/plain; version=0.0.4; charset=utf-8"));
        assert!(text.contains("\n# TYPE llm_proxy_tokens_total counter\n"), "{text}");
        assert!(text.contains("\nllm_proxy_tokens_total{kind=\"input\"} 0\n"), "{text}");
        assert!(text.contains("\n# TYPE llm_proxy_live_exchanges gauge\n"), "{text}");
        assert!(!text.contains("# EOF") && !text.contains("# UNIT"), "{text}");
    }
}
