//! What streams of small events take: the proxy's resident memory while they run and after their end.
//!
//! `cargo bench -p llm-proxy --bench memory [-- STREAMS...]` (50 and 500). Each stream is of 3,000 events of 256 bytes, each of
//! which is sent when the client has the one before. When all of them were sent, and before any stream ends, everything that is
//! captured is held at once. `LLM_PROXY=PATH` takes another binary, to compare.

use std::{error::Error, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::common::{
    Proxy,
    memory::{EVENT, Trickle, resident},
};

#[allow(
    dead_code,
    clippy::panic,
    clippy::unwrap_used,
    reason = "made for the tests, which need more of it"
)]
#[path = "../tests/common/mod.rs"]
mod common;

const EVENTS: usize = 3_000;
const MIB: f64 = 1024.0 * 1024.0;
/// Points of a curve.
const POINTS: usize = 10;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let streams: Vec<usize> =
        std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let streams = if streams.is_empty() { vec![50, 500] } else { streams };
    println!("{EVENTS} events of {EVENT} bytes each; resident memory in MiB");
    println!(
        "{:8}{:16}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}   while they run",
        "streams", "options", "bytes", "begin", "most", "x bytes", "1 s", "10 s"
    );
    for streams in streams {
        for options in [&[][..], &["--replay=60s"]] {
            measure(streams, options).await?;
        }
    }
    Ok(())
}

async fn measure(streams: usize, options: &[&str]) -> Result<(), Box<dyn Error>> {
    let upstream = Trickle::start(streams, EVENTS).await?;
    let proxy = Proxy::before(upstream.addr, options).await;
    let process = proxy.child.id().ok_or("it has ended")?;
    let begin = resident(process)?;
    let mut clients = JoinSet::new();
    for n in 0..streams {
        clients.spawn(upstream.client(proxy.addr, n));
    }
    let (start, mut curve) = (Instant::now(), Vec::new());
    let mut sent = std::pin::pin!(upstream.all_sent(streams));
    loop {
        tokio::select! {
            () = &mut sent => break,
            () = sleep(Duration::from_millis(100)) => curve.push((start.elapsed(), resident(process)?)),
        }
    }
    // The last events are on their way.
    sleep(Duration::from_secs(1)).await;
    curve.push((start.elapsed(), resident(process)?));
    let most = curve.iter().map(|(_, bytes)| *bytes).max().unwrap_or(begin);
    upstream.end();
    while let Some(client) = clients.join_next().await {
        let read = client??;
        assert!(read > EVENTS * EVENT, "{read} bytes only");
    }
    sleep(Duration::from_secs(1)).await;
    let soon = resident(process)?;
    sleep(Duration::from_secs(9)).await;
    let late = resident(process)?;
    let bytes = (streams * EVENTS * EVENT) as f64;
    let options = if options.is_empty() { "-" } else { options[0] };
    print!(
        "{streams:<8}{options:16}{:>8.1}{:>8.1}{:>8.1}",
        bytes / MIB,
        begin as f64 / MIB,
        most as f64 / MIB
    );
    print!("{:>8.2}", (most - begin) as f64 / bytes);
    print!("{:>8.1}{:>8.1}  ", soon as f64 / MIB, late as f64 / MIB);
    let step = curve.len().div_ceil(POINTS);
    for (at, bytes) in curve.iter().skip(step - 1).step_by(step) {
        print!(" {:.1}s:{:.0}", at.as_secs_f64(), *bytes as f64 / MIB);
    }
    println!();
    Ok(())
}
