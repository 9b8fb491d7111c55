//! A client that stops reading, and an upstream that sends as fast as it can.
//!
//! `cargo bench -p llm-proxy --bench unread [-- SECONDS]`. First, under `--unread-timeout 1s`: seconds from the moment when
//! the last byte was taken from the upstream (its socket is full from then on) to the close of its socket. Then, with a
//! client that does not read and no limit, and with one that reads all it gets: the proxy's resident memory over so many
//! seconds (60), and what passed meanwhile.

use std::{error::Error, net::SocketAddr, time::Duration};

use testkit::{H1, H2, H2Body, Play, Upstream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};

use crate::common::{LIMIT, Proxy, memory::resident};

#[allow(
    dead_code,
    clippy::panic,
    clippy::unwrap_used,
    reason = "made for the tests, which need more of it"
)]
#[path = "../tests/common/mod.rs"]
mod common;

type Failure = Box<dyn Error>;

const ROUNDS: usize = 10;
const MIB: f64 = 1024.0 * 1024.0;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let seconds = std::env::args().filter_map(|argument| argument.parse().ok()).next();
    let seconds: u64 = seconds.unwrap_or(60);
    println!(
        "--unread-timeout 1s, {ROUNDS} clients that do not read: seconds until the upstream's socket is closed"
    );
    println!("{:8}{:>8}{:>8}{:>8}", "client", "first", "median", "last");
    for wire in ["h1", "h2"] {
        let mut taken = limited(wire).await?;
        taken.sort_unstable();
        let [first, median, last] =
            [0, ROUNDS / 2, ROUNDS - 1].map(|round| taken[round].as_secs_f64());
        println!("{wire:8}{first:>8.3}{median:>8.3}{last:>8.3}");
    }
    println!(
        "\nresident memory of the proxy over {seconds} s, MiB; what it took from the upstream, MiB/s"
    );
    println!("{:20}{:>8}{:>8}{:>8}{:>10}", "client", "begin", "most", "end", "MiB/s");
    for (wire, reads) in [("h1", false), ("h2", false), ("h1", true)] {
        let (memory, rate) = memory(wire, reads, seconds).await?;
        let most = memory.iter().copied().max().unwrap_or(0);
        let [begin, most, end] =
            [memory.first().copied().unwrap_or(0), most, memory.last().copied().unwrap_or(0)]
                .map(|bytes| bytes as f64 / MIB);
        let client = format!("{wire}, {}", if reads { "reads all" } else { "does not read" });
        println!("{client:20}{begin:>8.1}{most:>8.1}{end:>8.1}{rate:>10.0}");
    }
    Ok(())
}

/// A client that has asked and does not read. What it holds keeps it connected.
async fn idle_client(
    wire: &str,
    address: SocketAddr,
) -> Result<(H1, Option<(H2, H2Body)>), Failure> {
    let mut h1 = H1::connect_with_small_buffers(address).await?;
    if wire == "h1" {
        h1.get("/").await?;
        return Ok((h1, None));
    }
    let mut h2 = H2::connect(address).await?;
    let answer = h2.request("GET", "/", &[]).await.map_err(|other| format!("{other:?}"))?;
    let (_, body) = answer;
    Ok((h1, Some((h2, body))))
}

async fn limited(wire: &str) -> Result<Vec<Duration>, Failure> {
    let event = format!("data: {}\n\n", "x".repeat(992));
    let upstream = Upstream::start([Play::new().head_sse().flood(event)]).await;
    let proxy = Proxy::before(upstream.addr(), &["--unread-timeout=1s"]).await;
    let mut taken = Vec::new();
    for round in 0..ROUNDS {
        let held = idle_client(wire, proxy.addr).await?;
        // The last time that it was seen to take something.
        let (mut known, mut since) = (0, Instant::now());
        let closed = upstream.closed(round, LIMIT);
        let mut closed = std::pin::pin!(closed);
        let closed = loop {
            tokio::select! {
                closed = &mut closed => break closed,
                () = sleep(Duration::from_millis(5)) => {
                    let streams = proxy.see("/streams").await;
                    let bytes = streams[0]["bytes"].as_u64().unwrap_or(known);
                    if bytes != known {
                        (known, since) = (bytes, Instant::now());
                    }
                }
            }
        };
        taken.push(closed.saturating_duration_since(since));
        drop(held);
    }
    Ok(taken)
}

/// Sends one endless response on each connection, as fast as it is taken.
async fn flood() -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n\r\n";
                let data = vec![b'x'; 256 * 1024];
                let mut alive = stream.write_all(head.as_bytes()).await.is_ok();
                while alive {
                    alive = stream.write_all(&data).await.is_ok();
                }
            });
        }
    });
    Ok(address)
}

async fn memory(wire: &str, reads: bool, seconds: u64) -> Result<(Vec<usize>, f64), Failure> {
    let proxy = Proxy::before(flood().await?, &["--unread-timeout=off", "--capture=64KiB"]).await;
    let process = proxy.child.id().ok_or("it has ended")?;
    let held = if reads { None } else { Some(idle_client(wire, proxy.addr).await?) };
    let reading = tokio::spawn(async move {
        if !reads {
            return Ok::<_, std::io::Error>(());
        }
        let mut client = TcpStream::connect(proxy.addr).await?;
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await?;
        let mut buffer = vec![0; 256 * 1024];
        while client.read(&mut buffer).await? > 0 {}
        Ok(())
    });
    sleep(Duration::from_millis(500)).await;
    let (start, mut memory) = (Instant::now(), Vec::new());
    let before = taken(&proxy).await;
    for _ in 0..seconds * 4 {
        memory.push(resident(process)?);
        sleep(Duration::from_millis(250)).await;
    }
    let passed = taken(&proxy).await.saturating_sub(before);
    let rate = passed as f64 / MIB / start.elapsed().as_secs_f64();
    reading.abort();
    drop(held);
    Ok((memory, rate))
}

async fn taken(proxy: &Proxy) -> u64 {
    proxy.see("/streams").await[0]["bytes"].as_u64().unwrap_or(0)
}
