//! How soon an abort lets the upstream go while the client is not reading, and hyper therefore polls nothing: milliseconds
//! from `DELETE /streams/{id}` being written to the close of the upstream's socket.
//!
//! `cargo bench -p llm-proxy --bench abort`. The upstream floods until everything between it and the client is full.

use std::{error::Error, time::Duration};

use testkit::{H1, H2, Play, Upstream};

use crate::common::{LIMIT, Proxy};

#[allow(
    dead_code,
    clippy::panic,
    clippy::unwrap_used,
    reason = "made for the tests, which need more of it"
)]
#[path = "../tests/common/mod.rs"]
mod common;

const ABORTS: usize = 50;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    println!("{ABORTS} aborts each, the client not reading, the upstream flooding; milliseconds");
    println!("{:8}{:>8}{:>8}{:>8}", "client", "best", "median", "worst");
    for wire in ["h1", "h2"] {
        let mut taken = aborts(wire).await?;
        taken.sort_unstable();
        let [best, median, worst] =
            [0, ABORTS / 2, ABORTS - 1].map(|n| taken[n].as_secs_f64() * 1000.0);
        println!("{wire:8}{best:>8.2}{median:>8.2}{worst:>8.2}");
    }
    Ok(())
}

async fn aborts(wire: &str) -> Result<Vec<Duration>, Box<dyn Error>> {
    let event = format!("data: {}\n\n", "x".repeat(992));
    let upstream = Upstream::start([Play::new().head_sse().flood(event)]).await;
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    let mut taken = Vec::new();
    for n in 0..ABORTS {
        let mut h1 = H1::connect_with_small_buffers(proxy.addr).await?;
        let mut h2 = H2::connect(proxy.addr).await?;
        let mut unread = None;
        match wire {
            "h1" => h1.get("/").await?,
            _ => {
                let answer = h2.request("GET", "/", &[]).await;
                unread = Some(answer.map_err(|other| format!("{other:?}"))?);
            }
        }
        let id = proxy.blocked().await;
        let (asked, status, answer) =
            proxy.ask_admin("DELETE", &format!("/streams/{id}"), "").await;
        assert_eq!(status, 200, "{answer}");
        taken.push(upstream.closed(n, LIMIT).await.duration_since(asked));
        drop((h1, h2, unread));
    }
    Ok(taken)
}
