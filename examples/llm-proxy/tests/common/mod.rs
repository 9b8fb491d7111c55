//! The real proxy as a process, for tests and benches.

use std::{
    ffi::OsString,
    net::SocketAddr,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use testkit::{H1, Head, How};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::{Instant, sleep, timeout},
};

#[allow(dead_code, reason = "only some of those who start a proxy measure its memory")]
pub(crate) mod memory;

/// Bounds whatever must happen.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// The running proxy. To drop it is to kill it, by its own id.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) addr: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) child: Child,
    /// Is kept open: a process that can not say what it has to say ends.
    pub(crate) stdout: Lines<BufReader<ChildStdout>>,
    /// What it has logged so far.
    pub(crate) stderr: Arc<Mutex<Vec<String>>>,
}

fn program() -> OsString {
    // Another one, for a bench that compares.
    let program = std::env::var_os("LLM_PROXY");
    program.unwrap_or_else(|| env!("CARGO_BIN_EXE_llm-proxy").into())
}

impl Proxy {
    /// Starts it on ports of its own, and waits until both listeners are ready.
    pub(crate) async fn start(options: &[&str]) -> Self {
        let loopback = ["--listen=127.0.0.1:0", "--admin=127.0.0.1:0"];
        Self::start_with(&[&loopback, options].concat()).await
    }

    /// Starts it in front of this upstream.
    pub(crate) async fn before(upstream: SocketAddr, options: &[&str]) -> Self {
        let upstream = format!("--upstream=http://{upstream}");
        Self::start(&[&[&*upstream], options].concat()).await
    }

    /// Starts it with these options and no others.
    pub(crate) async fn start_with(options: &[&str]) -> Self {
        let mut proxy = Self::with_unread_log(options).await;
        let logged = Arc::clone(&proxy.stderr);
        let mut log = BufReader::new(proxy.child.stderr.take().unwrap()).lines();
        tokio::spawn(async move {
            while let Ok(Some(line)) = log.next_line().await {
                logged.lock().unwrap().push(line);
            }
        });
        proxy
    }

    /// The same, and nobody reads what it logs.
    pub(crate) async fn with_unread_log(options: &[&str]) -> Self {
        Self::spawn(Command::new(program()).args(options)).await
    }

    /// Starts it on ports of its own with so many descriptors, and nobody reads what it logs.
    #[allow(dead_code, reason = "only some of those who start a proxy run it short of something")]
    pub(crate) async fn with_descriptors(count: u32, options: &[&str]) -> Self {
        let limit = format!("ulimit -n {count}; exec \"$0\" \"$@\"");
        let loopback = ["--listen=127.0.0.1:0", "--admin=127.0.0.1:0"];
        let mut shell = Command::new("sh");
        shell.args(["-c", &limit]).arg(program()).args(loopback).args(options);
        Self::spawn(&mut shell).await
    }

    async fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stderr = Arc::default();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let addr = address(&mut stdout, "listening on http://").await;
        let admin = address(&mut stdout, "admin on http://").await;
        Self { addr, admin, child, stdout, stderr }
    }

    /// Asks the admin listener, and tells when it began to write the request, the status and the JSON of the answer.
    pub(crate) async fn ask_admin(
        &self,
        method: &str,
        target: &str,
        headers: &str,
    ) -> (Instant, u16, Value) {
        let mut client = H1::connect(self.admin).await.unwrap();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n"
        );
        let asked = Instant::now();
        client.send(request).await.unwrap();
        let status = client.read_head(LIMIT).await.as_ref().ok().and_then(Head::status).unwrap();
        let end = client.read_to_end(LIMIT).await;
        assert_ne!(end.how, How::TimedOut);
        (asked, status, serde_json::from_slice(&end.bytes).unwrap_or(Value::Null))
    }

    /// Reads what is at this address of the admin listener.
    pub(crate) async fn see(&self, target: &str) -> Value {
        let (_, status, answer) = self.ask_admin("GET", target, "").await;
        assert_eq!(status, 200, "{target}: {answer}");
        answer
    }

    /// Waits until the one live stream is held back by its client, who does not read, and tells its id.
    pub(crate) async fn blocked(&self) -> String {
        let (mut known, mut still) = (0, 0);
        let deadline = Instant::now() + LIMIT;
        while still < 4 {
            assert!(Instant::now() < deadline, "it is never held back");
            sleep(Duration::from_millis(25)).await;
            let bytes = self.see("/streams").await[0]["bytes"].as_u64().unwrap_or(0);
            still = if bytes > 0 && bytes == known { still + 1 } else { 0 };
            known = bytes;
        }
        self.see("/streams").await[0]["id"].as_str().unwrap().to_owned()
    }
}

/// Reads the address that the next line says after `what`.
async fn address(stdout: &mut Lines<BufReader<ChildStdout>>, what: &str) -> SocketAddr {
    let line = timeout(LIMIT, stdout.next_line()).await.unwrap().unwrap().unwrap();
    line.strip_prefix(what).unwrap_or_else(|| panic!("{line}")).parse().unwrap()
}
