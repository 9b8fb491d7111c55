//! What a hundred equal requests cost under `--replay 60s`, wherever in the answer they come: calls of the upstream, and the
//! milliseconds from a request being written to the first byte of its body.
//!
//! `cargo bench -p llm-proxy --bench replay`. The upstream thinks for half a second, then streams a hundred events, 20 ms apart.

use std::{collections::HashMap, error::Error, time::Duration};

use testkit::{H1, Play, Upstream, dechunk};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::common::{LIMIT, Proxy};

#[allow(
    dead_code,
    clippy::panic,
    clippy::unwrap_used,
    reason = "made for the tests, which need more of it"
)]
#[path = "../tests/common/mod.rs"]
mod common;

const REQUESTS: usize = 100;
const THINKS: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(20);

/// One answer: how it was come by, the time to its first byte, and its bytes.
type Answer = (String, Duration, Vec<u8>);

fn play() -> Play {
    let answer = (0..100).fold(Play::new().sleep(THINKS).head_sse(), |play, n| {
        let delta = "x".repeat(200);
        play.chunk(format!(
            "data: {{\"choices\":[{{\"delta\":{{\"content\":\"{n} {delta}\"}}}}]}}\n\n"
        ))
        .sleep(PAUSE)
    });
    answer.chunk("data: [DONE]\n\n").last_chunk()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    println!("{REQUESTS} equal requests; milliseconds to the first byte of the body");
    println!(
        "{:24}{:>6}{:>10}{:>6}{:>6}{:>6}{:>9}{:>9}{:>9}",
        "when they come", "calls", "identical", "miss", "join", "hit", "best", "median", "worst"
    );
    for (when, apart, after) in [
        ("all at once", Duration::ZERO, Duration::ZERO),
        ("30 ms apart", Duration::from_millis(30), Duration::ZERO),
        ("in the middle", Duration::ZERO, Duration::from_millis(1500)),
        ("when it is over", Duration::ZERO, Duration::from_secs(4)),
    ] {
        let upstream = Upstream::start([play()]).await;
        let proxy = Proxy::before(upstream.addr(), &["--replay=60s"]).await;
        let mut clients = JoinSet::new();
        for n in 0..REQUESTS {
            let addr = proxy.addr;
            clients.spawn(async move {
                let wait = if n == 0 { Duration::ZERO } else { after };
                sleep(wait + apart * u32::try_from(n).unwrap_or(0)).await;
                ask(addr).await.map_err(|error| error.to_string())
            });
        }
        let answers = clients.join_all().await.into_iter().collect::<Result<Vec<Answer>, _>>()?;
        let identical = answers.iter().all(|answer| answer.2 == answers[0].2);
        let mut by = HashMap::new();
        for (replayed, ..) in &answers {
            *by.entry(replayed.as_str()).or_insert(0) += 1;
        }
        let mut times: Vec<Duration> = answers
            .iter()
            .filter(|(replayed, ..)| replayed != "miss")
            .map(|(_, time, _)| *time)
            .collect();
        times.sort_unstable();
        let [best, median, worst] =
            [0, times.len() / 2, times.len() - 1].map(|n| times[n].as_secs_f64() * 1000.0);
        let [miss, join, hit] =
            ["miss", "join", "hit"].map(|kind| by.get(kind).copied().unwrap_or(0));
        println!(
            "{when:24}{:>6}{identical:>10}{miss:>6}{join:>6}{hit:>6}{best:>9.2}{median:>9.2}{worst:>9.2}",
            upstream.conns().len()
        );
    }
    Ok(())
}

async fn ask(addr: std::net::SocketAddr) -> Result<Answer, Box<dyn Error>> {
    let mut client = H1::connect(addr).await?;
    let asked = Instant::now();
    let question = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}";
    client.send(question).await?;
    let head = client.read_head(LIMIT).await.map_err(|end| format!("{end:?}"))?;
    let replayed = head.header("x-replay").unwrap_or("-").to_owned();
    let first = |bytes: &[u8]| !dechunk(bytes).body.is_empty();
    client.read_until(first, LIMIT).await.map_err(|end| format!("{end:?}"))?;
    let time = asked.elapsed();
    let whole = |bytes: &[u8]| dechunk(bytes).complete;
    client.read_until(whole, LIMIT).await.map_err(|end| format!("{end:?}"))?;
    Ok((replayed, time, dechunk(&client.take()).body))
}
