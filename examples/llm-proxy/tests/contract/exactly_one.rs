//! One ending for each exchange, and soon.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    client::{Client, chat},
    common::{LIMIT, Proxy},
};

/// An ending is readable so soon after the end.
const SOON: Duration = Duration::from_millis(250);

#[tokio::test]
async fn every_exchange_has_one_ending_whatever_became_of_it() {
    let proxy = Proxy::start(&["--keepalive=50ms"]).await;
    let mut clients = JoinSet::new();
    for model in ["sim-words=20-gap=5ms", "sim-fail=20-gap=5ms", "sim-stall=3", "sim-stall=4"] {
        for _ in 0..25 {
            let mut client = Client::send(&proxy, chat(model)).await;
            clients.spawn(async move {
                let id = client.id.clone();
                if model == "sim-stall=3" {
                    client.read_until("\n\n").await;
                    client.leave().await;
                } else {
                    client.rest().await;
                }
                (id, model)
            });
        }
    }
    // Those that stall, and have a client who waits, end by an abort.
    let others_ended = async {
        while proxy.see("/streams").await.as_array().unwrap().len() > 25 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LIMIT, others_ended).await.unwrap();
    let (_, status, answer) = proxy.ask_admin("DELETE", "/streams?reason=all", "").await;
    assert_eq!((status, answer), (200, json!({"aborted": 25})));
    let models: BTreeMap<String, &str> = clients.join_all().await.into_iter().collect();
    assert_eq!(models.len(), 100);

    let endings = proxy.endings(100).await;
    for ending in &endings {
        let expected = match models[ending["id"].as_str().unwrap()] {
            "sim-words=20-gap=5ms" => "completed",
            "sim-fail=20-gap=5ms" => "failed",
            "sim-stall=3" => "disconnected",
            _ => "aborted",
        };
        assert_eq!(ending["outcome"], expected);
    }
    let ids: HashSet<_> = endings.iter().map(|ending| ending["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 100);
    assert_eq!(proxy.see("/streams").await, json!([]));
    sleep(Duration::from_millis(300)).await;
    proxy.endings(100).await;
}

#[tokio::test]
async fn an_ending_is_readable_within_250_ms() {
    let proxy = Proxy::start(&[]).await;
    for (model, outcome) in [
        ("sim-words=2-gap=0ms", "completed"),
        ("sim-fail=2-gap=0ms", "failed"),
        ("sim-stall=1", "disconnected"),
        ("sim-stall=1", "aborted"),
    ] {
        let mut taken = Vec::new();
        for _ in 0..5 {
            let mut client = Client::send(&proxy, chat(model)).await;
            let id = client.id.clone();
            match outcome {
                "disconnected" => {
                    client.read_until("\n\n").await;
                    client.leave().await;
                }
                "aborted" => assert_eq!(proxy.abort(&id, "").await.0, 200),
                _ => drop(client.rest().await),
            }
            let end = Instant::now();
            assert_eq!(proxy.ending_of(&id).await["outcome"], outcome);
            taken.push(end.elapsed());
        }
        taken.sort_unstable();
        assert!(taken[2] < SOON, "{outcome}: {taken:?}");
    }
}
