//! A process that is killed: what this crate can not promise.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
};

use axum::body::Body;
use http::Request;
use testkit::{H1, Script};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr},
    time::timeout,
};
use tower::ServiceBuilder;
use tower_lifeline::finalize::{Ending, FinalizeLayer};

use crate::{
    server::{Front, LIMIT, Server},
    stage::sse,
};

/// What tells this test from a run of all tests.
const CHILD: &str = "TOWER_LIFELINE_CHILD";

/// Serves a live stream until it is killed, and writes to stderr where it listens and how its streams end. `/abort` ends the
/// process as a panic does where it is compiled with `panic = "abort"`.
#[tokio::test]
#[ignore = "it is the child process of the others"]
async fn child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let stack = ServiceBuilder::new()
        .layer(FinalizeLayer::new(|_| |ending: Ending| eprintln!("told: {}", ending.outcome)))
        .service_fn(async |request: Request<Body>| {
            if request.uri().path() == "/abort" {
                std::process::abort();
            }
            Ok::<_, std::io::Error>(sse(Script::new().data("data: 1\n\n").stall()))
        });
    let server = Server::start(Front::H1, stack).await;
    eprintln!("at: {}", server.addr());
    // Should the parent be gone.
    tokio::time::sleep(4 * LIMIT).await;
}

/// The child, with one client that has a live stream.
struct Running {
    child: Child,
    said: Lines<BufReader<ChildStderr>>,
    addr: SocketAddr,
    client: H1,
}

impl Running {
    async fn start() -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let name = concat!(module_path!(), "::child");
        let name = name.split_once("::").unwrap().1; // Without the crate.
        command.args(["--exact", name, "--ignored", "--nocapture"]).env(CHILD, "1");
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut command = tokio::process::Command::from(command);
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let addr = timeout(LIMIT, async {
            loop {
                let line = said.next_line().await.unwrap().expect("the child is gone");
                if let Some(addr) = line.strip_prefix("at: ") {
                    return addr.parse().unwrap();
                }
            }
        });
        let addr = addr.await.expect("the child says nothing");
        let mut client = H1::connect(addr).await.unwrap();
        client.get("/").await.unwrap();
        client.read_until(|bytes| bytes.ends_with(b"\n\n\r\n"), LIMIT).await.unwrap();
        Self { child, said, addr, client }
    }

    /// Reads what it says until it is gone.
    async fn last_words(mut self) -> Vec<String> {
        let mut words = Vec::new();
        let reading = async {
            while let Some(line) = self.said.next_line().await.unwrap() {
                words.push(line);
            }
        };
        timeout(LIMIT, reading).await.expect("the child lives on");
        timeout(LIMIT, self.child.wait()).await.expect("the child lives on").unwrap();
        words
    }
}

// So that the others show something.
#[tokio::test]
async fn a_process_that_lives_tells_how_its_streams_end() {
    let mut running = Running::start().await;
    running.client.reset();
    let line = timeout(LIMIT, running.said.next_line()).await.expect("nothing is told");
    assert_eq!(line.unwrap().unwrap(), "told: disconnected");
}

// faults.md 41: the limit.
#[tokio::test]
async fn a_process_that_is_killed_calls_no_hook() {
    let mut running = Running::start().await;
    running.child.start_kill().unwrap();
    assert_eq!(running.last_words().await, Vec::<String>::new());
}

// faults.md 41: the limit.
#[tokio::test]
async fn a_process_that_aborts_calls_no_hook() {
    let running = Running::start().await;
    let mut other = H1::connect(running.addr).await.unwrap();
    other.get("/abort").await.unwrap();
    assert_eq!(running.last_words().await, Vec::<String>::new());
}
