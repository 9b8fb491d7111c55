//! A thousand streams that do not finish by themselves, a grace of two seconds, and SIGTERM: how long the process takes to
//! end, its exit code, how many clients were told in-band, and how many endings it accounted for.
//!
//! `cargo bench -p llm-proxy --bench shutdown`.

use std::{error::Error, process::Command, time::Duration};

use testkit::{H1, dechunk};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
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

const STREAMS: usize = 1000;
const BODY: &str = r#"{"model":"sim-stall=1","stream":true,"messages":[]}"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut proxy = Proxy::start(&["--grace=2s"]).await;
    let mut clients = JoinSet::new();
    for _ in 0..STREAMS {
        let mut client = H1::connect(proxy.addr).await?;
        let length = BODY.len();
        let head =
            format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {length}");
        client.send(format!("{head}\r\n\r\n{BODY}")).await?;
        if client.read_head(LIMIT).await.is_err() {
            return Err("a stream did not begin".into());
        }
        clients.spawn(async move { dechunk(&client.read_to_end(3 * LIMIT).await.bytes) });
    }
    let live = proxy.see("/streams").await.as_array().map_or(0, Vec::len);

    let process = proxy.child.id().ok_or("it has ended already")?;
    let signalled = Instant::now();
    Command::new("kill").args(["-TERM", &process.to_string()]).status()?;
    let status = timeout(3 * LIMIT, proxy.child.wait()).await??;
    let seconds = signalled.elapsed().as_secs_f64();

    let bodies = clients.join_all().await;
    let is_told = |body: &[u8]| body.ends_with(b"\"code\":\"shutdown\"}}\n\n");
    let told = bodies.iter().filter(|body| body.complete && is_told(&body.body)).count();
    // Its log is read by a task of its own.
    sleep(Duration::from_millis(500)).await;
    let log = proxy.stderr.lock().map_err(|error| error.to_string())?;
    let ended =
        |line: &&String| line.contains("exchange ended") && line.contains("reason=\"shutdown\"");
    let endings = log.iter().filter(ended).count();

    println!("{live} live streams, --grace 2s, SIGTERM");
    println!("exit code            {:?}", status.code());
    println!("seconds              {seconds:.2}");
    println!("clients told in-band {told}");
    println!("endings accounted    {endings}");
    Ok(())
}
