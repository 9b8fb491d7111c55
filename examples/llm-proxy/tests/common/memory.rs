//! Streams of small events that are all held until somebody has looked at what they take.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

/// Of each event, its blank line included.
pub(crate) const EVENT: usize = 256;

/// An upstream that answers so many requests with so many events each, and then waits. An event is sent when the client has the
/// one before, so that the proxy reads and writes each by itself, however busy the machine is.
#[derive(Debug)]
pub(crate) struct Trickle {
    pub(crate) addr: SocketAddr,
    /// For each stream, how many events its client waits for.
    wanted: Arc<[Semaphore]>,
    /// How many have sent all but the end.
    sent: watch::Sender<usize>,
    end: watch::Sender<bool>,
}

impl Trickle {
    pub(crate) async fn start(streams: usize, events: usize) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let (sent, end) = (watch::Sender::new(0), watch::Sender::new(false));
        let (counted, ended) = (sent.clone(), end.subscribe());
        let wanted: Arc<[Semaphore]> = (0..streams).map(|_| Semaphore::new(1)).collect();
        let asked = wanted.clone();
        tokio::spawn(async move {
            let mut streams = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                streams.spawn(serve(stream, events, asked.clone(), counted.clone(), ended.clone()));
            }
        });
        Ok(Self { addr, wanted, sent, end })
    }

    /// Waits until so many streams are there but for their ends.
    pub(crate) async fn all_sent(&self, streams: usize) {
        let mut sent = self.sent.subscribe();
        // It lives in `self`: this can not fail.
        let _ = sent.wait_for(|sent| *sent >= streams).await;
    }

    pub(crate) fn end(&self) {
        self.end.send_replace(true);
    }

    /// A client of the proxy at this address, which asks the `n`-th question, no other's, and reads the answer to its end: so
    /// many bytes.
    pub(crate) fn client(
        &self,
        proxy: SocketAddr,
        n: usize,
    ) -> impl Future<Output = io::Result<usize>> + Send + use<> {
        ask(proxy, n, self.wanted.clone())
    }
}

async fn serve(
    mut stream: TcpStream,
    events: usize,
    wanted: Arc<[Semaphore]>,
    sent: watch::Sender<usize>,
    mut end: watch::Receiver<bool>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut request = Vec::new();
    while !request.ends_with(b"}") && stream.read_buf(&mut request).await? > 0 {}
    let n = String::from_utf8_lossy(&request);
    let n = n.rsplit_once(':').and_then(|(_, n)| n.trim_end_matches('}').parse::<usize>().ok());
    let wanted = n.and_then(|n| wanted.get(n)).ok_or_else(|| io::Error::other("no number"))?;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                transfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    let delta = r#"data: {"model":"m","choices":[{"index":0,"delta":{"content":""#;
    let text = "x".repeat(EVENT - delta.len() - 7);
    let event = format!("100\r\n{delta}{text}\"}}}}]}}\n\n\r\n");
    for _ in 0..events {
        wanted.acquire().await.map_err(io::Error::other)?.forget();
        stream.write_all(event.as_bytes()).await?;
    }
    sent.send_modify(|sent| *sent += 1);
    let _ = end.wait_for(|end| *end).await;
    stream.write_all(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n").await
}

async fn ask(proxy: SocketAddr, n: usize, wanted: Arc<[Semaphore]>) -> io::Result<usize> {
    let mut client = TcpStream::connect(proxy).await?;
    let body = format!("{{\"model\":\"m\",\"stream\":true,\"n\":{n}}}");
    let length = body.len();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    client.write_all(request.as_bytes()).await?;
    let (mut buffer, mut bytes, mut last) = (vec![0; 16 * 1024], 0, 0);
    loop {
        let read = client.read(&mut buffer).await?;
        if read == 0 {
            return Ok(bytes);
        }
        bytes += read;
        // Each event ends with two line ends, and nothing else does.
        let ends = buffer[..read].iter().filter(|byte| {
            let before = std::mem::replace(&mut last, **byte);
            (before, last) == (b'\n', b'\n')
        });
        let ends = ends.count();
        if let Some(wanted) = wanted.get(n) {
            wanted.add_permits(ends);
        }
    }
}

/// Bytes of memory that a process has in use.
pub(crate) fn resident(process: u32) -> io::Result<usize> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    Ok(kib.ok_or_else(|| io::Error::other("no VmRSS"))? * 1024)
}

/// The least that the process has in use within this time: freed memory goes back when it does.
pub(crate) async fn settled(process: u32, within: Duration) -> io::Result<usize> {
    let mut least = resident(process)?;
    let falls = async {
        loop {
            sleep(Duration::from_millis(100)).await;
            least = least.min(resident(process).unwrap_or(least));
        }
    };
    let _: Result<(), _> = timeout(within, falls).await;
    Ok(least)
}
