//! The live page in a real Chromium: `cargo test -p llm-proxy --test page -- --ignored --test-threads=1`.
//!
//! Pictures of it are in the target directory's `tmp` afterwards.
// Clippy's own exception for tests does not reach the functions that tests share.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::time::Duration;

use fantoccini::key::Key;
use serde_json::json;
use testkit::{Gate, Play, Upstream};
use tokio::time::Instant;

use self::{
    between::Between,
    browser::{Screen, with_browser},
    client::{Client, End, ask, chat, error_event},
    common::Proxy,
};

mod between;
mod browser;
#[allow(dead_code, reason = "made for the tests of the contract")]
#[path = "../contract/client.rs"]
mod client;
#[allow(dead_code, reason = "made for the tests of the contract")]
#[path = "../common/mod.rs"]
mod common;

/// How many rows there are.
const ROWS: &str = "document.querySelectorAll('#stream-rows tr').length";

/// A stream that goes on for hours.
async fn endless(proxy: &Proxy) -> Client {
    Client::send(proxy, chat("sim-words=100000-gap=100ms")).await
}

/// Has an answer from its beginning to its end; tells its id.
async fn completed(proxy: &Proxy) -> String {
    let mut client = Client::send(proxy, chat("sim-words=3-gap=1ms")).await;
    assert_eq!(client.rest().await.1, End::Clean);
    client.id
}

fn row(id: &str) -> String {
    format!("#stream-rows tr[data-id='{id}']")
}

fn ending(id: &str) -> String {
    format!("#ending-rows tr[data-id='{id}']")
}

fn field(row: &str, name: &str) -> String {
    format!("{row} [data-field={name}]")
}

/// True of a page on which this is not to be found.
fn gone(css: &str) -> String {
    format!("document.querySelector({css:?}) === null")
}

const ENDINGS: &str = "document.querySelectorAll('#ending-rows tr').length";

/// Where the focus is: the id of a stream, or of an element.
const FOCUS: &str = "document.activeElement.closest('tr')?.dataset.id ?? document.activeElement.id";

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver"]
async fn a_stream_is_seen_to_move_is_aborted_by_a_click_and_its_ending_says_why() {
    with_browser(Screen::Desk, async |page| {
        let proxy = Proxy::start(&[]).await;
        page.open(proxy.admin).await;
        assert_eq!(page.value(ROWS).await, 0);
        let mut client = endless(&proxy).await;
        let id = client.id.clone();
        let row = row(&id);

        assert_eq!(page.text(&field(&row, "path")).await, "/v1/chat/completions");
        assert_eq!(page.text(&field(&row, "status")).await, "200");
        for name in ["age", "bytes", "frames"] {
            let before = page.text(&field(&row, name)).await;
            let cell = field(&row, name);
            page.until(&format!("document.querySelector({cell:?}).textContent !== {before:?}"))
                .await;
        }
        page.until(&format!("document.querySelector(`{row} polyline`).points.length > 2")).await;
        assert_eq!(page.text("#live").await, "1");

        page.click(&format!("{row} button")).await;
        assert_eq!(page.text("#ask-id").await, id);
        page.find("#reason").await.send_keys("too expensive").await.unwrap();
        page.picture("asks").await;
        page.click("#confirm").await;

        let (answer, end) = client.rest().await;
        let error = error_event("aborted", "too expensive", "aborted");
        assert!(answer.ends_with(&error), "{answer}");
        assert_eq!(end, End::Clean);
        page.until(&gone(&row)).await;
        let ending = ending(&id);
        assert_eq!(page.text(&field(&ending, "outcome")).await, "aborted");
        assert_eq!(page.text(&field(&ending, "reason")).await, "too expensive");
        assert!(page.text("#said").await.ends_with("was aborted: too expensive"));
        assert_eq!((page.text("#live").await, page.text("#ended").await), ("0".into(), "1".into()));
        page.picture("aborted").await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver"]
async fn a_stream_whose_client_left_is_seen_to_drain_and_what_it_cost_is_plotted() {
    with_browser(Screen::Desk, async |page| {
        let proxy = Proxy::start(&["--drain=60s"]).await;
        page.open(proxy.admin).await;
        let client = Client::send(&proxy, ask("/v1/messages", "sim-words=80-gap=50ms")).await;
        let id = client.id.clone();
        client.leave().await;
        page.until(&format!("document.querySelector(`{} .draining`)?.textContent", row(&id))).await;
        assert_eq!(page.text("#draining").await, "1");
        page.picture("draining").await;

        let ending = ending(&id);
        assert_eq!(page.text(&field(&ending, "outcome")).await, "disconnected");
        let output = page.text(&field(&ending, "output")).await;
        assert_eq!(page.text(&field(&ending, "certainty")).await, "reported");
        // In the minute that is running, or, if it has just passed, in the one before.
        let bars =
            "[...document.querySelectorAll('#plot g')].slice(-2).map((bar) => bar.textContent)";
        let said = page.value(&format!("{bars}.join()")).await;
        assert!(said.as_str().unwrap().contains(&format!(" {output} output")), "{said}");
        assert_eq!(page.value("document.querySelectorAll('#plot g').length").await, 30);
        assert_eq!(page.text("#draining").await, "0");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver"]
async fn by_keyboard_alone_a_stream_is_aborted_and_the_focus_goes_to_the_next_one() {
    with_browser(Screen::Desk, async |page| {
        let proxy = Proxy::start(&[]).await;
        let mut first = endless(&proxy).await;
        let second = endless(&proxy).await;
        page.open(proxy.admin).await;
        page.until(&format!("{ROWS} === 2")).await;
        for _ in 0..4 {
            page.key(Key::Tab).await;
            if page.value(FOCUS).await == json!(first.id) {
                break;
            }
        }
        // The row is written anew in every beat, and the focus stays.
        let age = field(&row(&first.id), "age");
        let before = page.text(&age).await;
        page.until(&format!("document.querySelector({age:?}).textContent !== {before:?}")).await;
        assert_eq!(page.value(FOCUS).await, json!(first.id));
        let outline = "getComputedStyle(document.activeElement).outlineStyle";
        assert_ne!(page.value(outline).await, "none");

        page.key(Key::Enter).await;
        page.until("document.getElementById('ask').open").await;
        page.key(Key::Escape).await;
        page.until("!document.getElementById('ask').open").await;
        assert_eq!(page.value(FOCUS).await, json!(first.id));

        page.key(Key::Enter).await;
        page.until("document.getElementById('ask').open").await;
        page.press("by hand".chars()).await;
        page.key(Key::Enter).await;
        let (answer, _) = first.rest().await;
        assert!(answer.ends_with(&error_event("aborted", "by hand", "aborted")), "{answer}");
        page.until(&gone(&row(&first.id))).await;
        assert_eq!(page.value(FOCUS).await, json!(second.id));
        assert_eq!(page.text(&field(&ending(&first.id), "reason")).await, "by hand");

        // Without a reason it is the usual one.
        page.key(Key::Enter).await;
        page.until("document.getElementById('ask').open").await;
        page.key(Key::Delete).await;
        page.key(Key::Enter).await;
        page.until(&gone(&row(&second.id))).await;
        assert_eq!(page.text(&field(&ending(&second.id), "reason")).await, "aborted");
        assert_eq!(page.value(FOCUS).await, "streams-title");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver"]
async fn markup_in_a_path_a_model_or_a_reason_is_shown_as_text_and_runs_nothing() {
    const MARKUP: &str = "<img src=x onerror=window.ran=1><script>window.ran=1</script>";
    // A path has no `<`; this is what would break out of an attribute.
    const PATH: &str = r#"/"onmouseover="window.ran=1"/{{7*7}}/%3Cscript%3E"#;
    with_browser(Screen::Desk, async |page| {
        let more = Gate::new();
        let event = json!({
            "object": "chat.completion.chunk", "model": MARKUP,
            "choices": [{"index": 0, "delta": {"content": "hi"}}],
        });
        let play = Play::new().head_sse().chunk(format!("data: {event}\n\n")).wait(&more).stall();
        let upstream = Upstream::start([play]).await;
        let proxy = Proxy::before(upstream.addr(), &[]).await;
        page.open(proxy.admin).await;
        let mut client =
            Client::send(&proxy, format!("GET {PATH} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        let row = row(&client.id);
        assert_eq!(page.text(&field(&row, "path")).await, PATH);
        page.click(&format!("{row} button")).await;
        assert_eq!(page.text("#ask-request").await, format!("GET {PATH}"));
        page.find("#reason").await.send_keys(MARKUP).await.unwrap();
        page.click("#confirm").await;
        client.rest().await;
        let ending = ending(&client.id);
        for (name, expected) in [("path", PATH), ("reason", MARKUP), ("model", MARKUP)] {
            assert_eq!(page.text(&field(&ending, name)).await, expected);
        }
        assert!(page.text("#said").await.ends_with(MARKUP));
        let made = "document.querySelectorAll('img, body script, [onerror], [onmouseover]').length";
        assert_eq!(page.value(made).await, 0);
        assert_eq!(page.value("typeof window.ran").await, "undefined");
        // And if the script ever forgot itself, the policy would not.
        let forgets =
            "(() => { try { document.body.innerHTML = '<b>'; } catch { return 'refused'; } })()";
        assert_eq!(page.value(forgets).await, "refused");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver"]
async fn a_thousand_live_streams_are_all_there_and_the_page_answers_a_click() {
    const STREAMS: usize = 1000;
    with_browser(Screen::Desk, async |page| {
        let proxy = Proxy::start(&[]).await;
        page.open(proxy.admin).await;
        let mut clients = Vec::new();
        for n in 0..STREAMS {
            let model =
                ["sim-words=100000-gap=1s", "sim-words=100000-gap=3s", "sim-stall=4"][n % 3];
            clients.push(Client::send(&proxy, chat(model)).await);
        }
        let began = Instant::now();
        page.until(&format!("{ROWS} === {STREAMS}")).await;
        println!("all rows after {:?}", began.elapsed());
        let ids = page.value(
            "[...document.querySelectorAll('#stream-rows tr')].map((row) => row.dataset.id)",
        );
        let expected: Vec<_> = clients.iter().map(|client| client.id.clone()).collect();
        assert_eq!(ids.await, json!(expected));
        // They move, those out of sight too.
        for n in [0, STREAMS / 2, STREAMS - 1] {
            let age = field(&row(&expected[n]), "age");
            let before = page.text(&age).await;
            page.until(&format!("document.querySelector({age:?}).textContent !== {before:?}"))
                .await;
        }
        page.picture("1000").await;

        let clicked = Instant::now();
        page.click(&format!("{} button", row(&expected[3]))).await;
        page.until("document.getElementById('ask').open").await;
        let opened = clicked.elapsed();
        page.find("#reason").await.send_keys("one of many").await.unwrap();
        let confirmed = Instant::now();
        page.click("#confirm").await;
        page.until("document.getElementById('said').textContent").await;
        let said = confirmed.elapsed();
        page.until(&gone(&row(&expected[3]))).await;
        println!(
            "opened after {opened:?}, aborted after {said:?}, gone after {:?}",
            confirmed.elapsed()
        );
        // It is some tenths of a second; with everything else on the machine it may be more.
        assert!(opened < Duration::from_secs(5) && said < Duration::from_secs(5));
        assert_eq!(page.text(&field(&ending(&expected[3]), "reason")).await, "one of many");
        page.until(&format!("{ROWS} === {}", STREAMS - 1)).await;

        proxy.ask_admin("DELETE", "/streams?reason=all", "").await;
        page.until(&format!("{ROWS} === 0")).await;
        page.until(&format!("{ENDINGS} === 50")).await;
        assert_eq!(page.text("#ended").await, "1,000");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver"]
async fn a_page_that_lost_its_proxy_says_so_and_goes_on_with_the_next_one() {
    with_browser(Screen::Desk, async |page| {
        let proxy = Proxy::start(&[]).await;
        page.open(proxy.admin).await;
        let first = completed(&proxy).await;
        assert_eq!(page.text(&field(&ending(&first), "outcome")).await, "completed");
        let live = endless(&proxy).await;
        page.text(&field(&row(&live.id), "age")).await;
        let admin = proxy.admin;
        drop(proxy);
        page.until("document.getElementById('link').textContent.startsWith('connection lost')")
            .await;
        let options = [&*format!("--admin={admin}"), "--listen=127.0.0.1:0"];
        let proxy = Proxy::start_with(&options).await;
        page.until("document.getElementById('link').textContent === 'connected'").await;
        page.until(&gone(&row(&live.id))).await;
        let second = completed(&proxy).await;
        assert_eq!(page.text(&field(&ending(&second), "outcome")).await, "completed");
        assert_eq!(page.value(ENDINGS).await, 2);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver"]
async fn after_a_broken_connection_the_rows_are_the_same_and_nothing_is_there_twice() {
    with_browser(Screen::Desk, async |page| {
        let proxy = Proxy::start(&[]).await;
        let between = Between::start(proxy.admin).await;
        page.open(between.addr).await;
        let live = endless(&proxy).await;
        for _ in 0..3 {
            completed(&proxy).await;
        }
        page.until(&format!("{ROWS} === 1 && {ENDINGS} === 3")).await;
        page.value("document.querySelector('#stream-rows tr').mine = true").await;

        between.cut();
        page.until("document.getElementById('link').dataset.state === 'lost'").await;
        let last = completed(&proxy).await;
        page.until("document.getElementById('link').dataset.state === 'live'").await;
        page.text(&field(&ending(&last), "outcome")).await;
        assert_eq!(page.value(ENDINGS).await, 4);
        assert_eq!(page.value(&format!("{ROWS} === 1")).await, true);
        let same = format!("document.querySelector({:?}).mine", row(&live.id));
        assert_eq!(page.value(&same).await, true);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver"]
async fn the_page_fits_a_phone_follows_a_dark_scheme_and_asks_no_other_host() {
    with_browser(Screen::Phone, async |page| {
        let proxy = Proxy::start(&[]).await;
        let _clients = [endless(&proxy).await, endless(&proxy).await];
        let ended = completed(&proxy).await;
        page.open(proxy.admin).await;
        page.text(&field(&ending(&ended), "outcome")).await;
        page.until(&format!("{ROWS} === 2")).await;
        assert_eq!(page.value("innerWidth").await, 390);
        assert_eq!(page.value("document.documentElement.scrollWidth <= innerWidth").await, true);
        assert_eq!(page.value("matchMedia('(prefers-color-scheme: dark)').matches").await, true);
        let ground = page.value("getComputedStyle(document.documentElement).backgroundColor").await;
        assert_eq!(ground, "rgb(16, 19, 24)");
        let asked =
            page.value("performance.getEntriesByType('resource').map((entry) => entry.name)");
        let own =
            ["page.css", "page.js", "live"].map(|part| format!("http://{}/{part}", proxy.admin));
        for name in asked.await.as_array().unwrap() {
            assert!(own.iter().any(|own| name == own), "{name}");
        }
        page.picture("phone").await;
    })
    .await;
}
