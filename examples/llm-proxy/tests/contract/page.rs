//! `GET /` of the admin listener and the feed behind it. What a browser makes of them: `tests/page`.

use std::process::Command;

use serde_json::{Value, json};
use testkit::{H1, Head, How, Play, Upstream, dechunk};
use tokio::time::timeout;

use crate::{
    client::{Client, chat, says},
    common::{LIMIT, Proxy},
};

const PARTS: [(&str, &str); 3] = [
    ("/", "text/html; charset=utf-8"),
    ("/page.js", "text/javascript; charset=utf-8"),
    ("/page.css", "text/css; charset=utf-8"),
];

const LIVE: &str = "GET /live HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// What the admin listener answers.
async fn ask(proxy: &Proxy, method: &str, target: &str, headers: &str) -> (Head, String) {
    let mut client = H1::connect(proxy.admin).await.unwrap();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n"
    );
    client.send(request).await.unwrap();
    let head = client.read_head(LIMIT).await.unwrap();
    let end = client.read_to_end(LIMIT).await;
    assert_ne!(end.how, How::TimedOut);
    (head, String::from_utf8(end.bytes).unwrap())
}

/// The feed of the page.
struct Feed {
    client: H1,
    read: usize,
}

impl Feed {
    async fn open(proxy: &Proxy) -> Self {
        let mut client = H1::connect(proxy.admin).await.unwrap();
        client.send(LIVE).await.unwrap();
        let head = client.read_head(LIMIT).await.unwrap();
        assert_eq!(
            (head.status(), head.header("content-type")),
            (Some(200), Some("text/event-stream"))
        );
        Self { client, read: 0 }
    }

    async fn next(&mut self) -> Value {
        let next = self.read;
        let enough = |bytes: &[u8]| dechunk(bytes).chunks.len() > next;
        let events = dechunk(&self.client.read_until(enough, LIMIT).await.unwrap()).chunks;
        self.read += 1;
        let event = std::str::from_utf8(&events[next]).unwrap();
        let data = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
        serde_json::from_str(data).unwrap()
    }

    /// Reads on until something is so; tells all the endings that came on the way.
    async fn until(&mut self, ready: impl Fn(&Value) -> bool) -> (Value, Vec<Value>) {
        let mut endings = Vec::new();
        let found = timeout(LIMIT, async {
            loop {
                let news = self.next().await;
                endings.extend(news["endings"].as_array().unwrap().iter().cloned());
                if ready(&news) {
                    return news;
                }
            }
        });
        let found = found.await.expect("the feed does not tell of it");
        (found, endings)
    }
}

#[tokio::test]
async fn the_page_and_its_parts_are_served_with_a_policy_that_keeps_everything_else_out() {
    let proxy = Proxy::start(&[]).await;
    for (target, content_type) in PARTS {
        let (head, text) = ask(&proxy, "GET", target, "").await;
        assert_eq!((head.status(), head.header("content-type")), (Some(200), Some(content_type)));
        let policy = head.header("content-security-policy").unwrap();
        for rule in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"] {
            assert!(policy.split("; ").any(|own| own == rule), "{policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        assert_eq!(head.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(head.header("cache-control"), Some("no-store"));
        // The name of SVG is no host that anybody asks.
        let hosts = text.replace("http://www.w3.org/2000/svg", "");
        assert!(!hosts.contains("://"), "{target}");
    }
}

#[tokio::test]
async fn with_a_token_the_page_is_refused_as_everything_else() {
    let proxy = Proxy::start(&["--admin-token=s3cret"]).await;
    for (target, _) in PARTS {
        assert_eq!(ask(&proxy, "GET", target, "").await.0.status(), Some(401), "{target}");
        let (head, _) = ask(&proxy, "GET", target, "authorization: Bearer s3cret\r\n").await;
        assert_eq!(head.status(), Some(200), "{target}");
    }
    assert_eq!(ask(&proxy, "GET", "/live", "").await.0.status(), Some(401));
}

#[tokio::test]
async fn a_page_of_another_origin_gets_no_leave_to_abort() {
    let proxy = Proxy::start(&[]).await;
    let client = Client::send(&proxy, chat("sim-stall=1")).await;
    let stream = format!("/streams/{}", client.id);
    let asks = "origin: http://elsewhere.test\r\naccess-control-request-method: DELETE\r\n";
    for target in ["/streams", &stream] {
        let (head, _) = ask(&proxy, "OPTIONS", target, asks).await;
        assert_eq!(head.status(), Some(403), "{target}");
        for header in ["access-control-allow-origin", "access-control-allow-methods"] {
            assert_eq!(head.header(header), None, "{target}");
        }
        // What a form of another origin can send without asking.
        for method in ["GET", "POST"] {
            ask(&proxy, method, &format!("{target}?_method=DELETE"), "").await;
        }
    }
    assert_eq!(proxy.see("/streams").await[0]["id"], json!(client.id));
    assert_eq!(proxy.see("/endings").await, json!([]));
}

#[tokio::test]
async fn the_feed_tells_of_a_stream_and_then_of_its_ending_once() {
    let upstream = Upstream::start([Play::new().head_sse().chunk("data: 1\n\n").stall()]).await;
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    let mut feed = Feed::open(&proxy).await;
    says(
        &feed.next().await,
        [
            ("live", json!(0)),
            ("draining", json!(0)),
            ("ended", json!(0)),
            ("streams", json!([])),
            ("endings", json!([])),
        ],
    );

    let mut client = H1::connect(proxy.addr).await.unwrap();
    client.get("/v1/x").await.unwrap();
    let (news, endings) = feed.until(|news| news["streams"][0]["frames"] == 1).await;
    assert_eq!(endings, [Value::Null; 0]);
    assert_eq!(news["live"], 1);
    let stream = &news["streams"][0];
    says(stream, [("path", json!("/v1/x")), ("status", json!(200)), ("bytes", json!(9))]);

    let id = stream["id"].as_str().unwrap().to_owned();
    assert_eq!(proxy.abort(&id, "?reason=too%20dear").await.0, 200);
    let (news, endings) = feed.until(|news| news["live"] == 0).await;
    says(&news, [("streams", json!([])), ("ended", json!(1))]);
    assert_eq!(endings, proxy.endings(1).await);
    says(&endings[0], [("id", json!(id)), ("reason", json!("too dear"))]);
    assert_eq!(feed.next().await["endings"], json!([]));
    // One that lost its connection is told again.
    assert_eq!(Feed::open(&proxy).await.next().await["endings"], json!(endings));
}

#[tokio::test]
async fn the_feed_counts_tokens_in_the_minute_of_their_ending() {
    let proxy = Proxy::start(&[]).await;
    let mut feed = Feed::open(&proxy).await;
    feed.next().await;
    for model in ["sim-words=5-gap=1ms", "sim-words=7-gap=1ms"] {
        Client::send(&proxy, crate::client::ask("/v1/messages", model)).await.rest().await;
    }
    let (news, _) = feed.until(|news| news["ended"] == 2).await;
    let sum = |minutes: &Value, kind: &str| -> u64 {
        minutes.as_array().unwrap().iter().map(|minute| minute[kind].as_u64().unwrap()).sum()
    };
    let endings = proxy.endings(2).await;
    let told = |field: &str| -> u64 {
        endings.iter().map(|ending| ending["usage"][field].as_u64().unwrap()).sum()
    };
    assert_eq!(news["minutes"].as_array().unwrap().len(), 30);
    assert_eq!(sum(&news["minutes"], "output"), 12);
    assert_eq!(sum(&news["minutes"], "output"), told("output_tokens"));
    assert_eq!(sum(&news["minutes"], "input"), told("input_tokens"));
}

#[tokio::test]
async fn nobody_who_watches_or_does_not_read_keeps_the_process_from_its_end() {
    let mut proxy = Proxy::start(&["--grace=1s"]).await;
    let mut watches = Feed::open(&proxy).await;
    watches.next().await;
    let mut does_not_read = H1::connect_with_small_buffers(proxy.admin).await.unwrap();
    does_not_read.send(LIVE).await.unwrap();
    let process = proxy.child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &process]).status().unwrap().success());
    let exit = timeout(LIMIT, proxy.child.wait()).await.expect("it does not end").unwrap();
    assert_eq!(exit.code(), Some(0));
    assert_ne!(watches.client.read_to_end(LIMIT).await.how, How::TimedOut);
}

#[tokio::test]
async fn there_are_only_so_many_feeds_and_one_that_ends_makes_room() {
    let proxy = Proxy::start(&[]).await;
    let mut feeds = Vec::new();
    for _ in 0..16 {
        feeds.push(Feed::open(&proxy).await);
    }
    let (head, text) = ask(&proxy, "GET", "/live", "").await;
    assert_eq!(head.status(), Some(503), "{text}");
    feeds.pop().unwrap().client.close().await;
    let room = async {
        loop {
            let mut client = H1::connect(proxy.admin).await.unwrap();
            client.send(LIVE).await.unwrap();
            if client.read_head(LIMIT).await.unwrap().status() == Some(200) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    timeout(LIMIT, room).await.unwrap();
}
