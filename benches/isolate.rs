//! How long an abort takes when the body is stuck: milliseconds from `abort()` to the moment when the client's read ends, for
//! a hyper server over loopback whose body sleeps its thread for 10 s inside one `poll_frame`.
//!
//! `cargo bench --bench isolate`. Each round has a body, a connection and a client of its own. The rounds follow each other;
//! the threads of those before stay stuck meanwhile, and the process does not wait for them.

#![allow(clippy::expect_used)] // A bench that can not run shall say so.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};
use tower::{ServiceBuilder, service_fn};
use tower_lifeline::{
    abort::{AbortHandle, AbortLayer},
    isolate::IsolateLayer,
};

const ROUNDS: usize = 50;
const STUCK: Duration = Duration::from_secs(10);

/// One event, then a poll that holds its thread.
struct Sticky {
    begun: bool,
    stuck: Arc<AtomicBool>,
}

impl Body for Sticky {
    type Data = Bytes;
    type Error = Infallible;

    #[allow(clippy::disallowed_methods)] // The very thing that is measured.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !self.begun {
            self.begun = true;
            return Poll::Ready(Some(Ok(Frame::data("data: hello\n\n".into()))));
        }
        self.stuck.store(true, Ordering::SeqCst);
        std::thread::sleep(STUCK);
        Poll::Ready(None)
    }
}

/// Serves one connection.
async fn serve(listener: TcpListener, handle: AbortHandle, stuck: Arc<AtomicBool>) {
    let service = ServiceBuilder::new()
        .layer(AbortLayer::new(move |_| handle.clone()))
        .layer(IsolateLayer::new(8))
        .service(service_fn(move |_: Request<Incoming>| {
            let stuck = stuck.clone();
            async { Ok::<_, Infallible>(Response::new(Sticky { begun: false, stuck })) }
        }));
    let (stream, _) = listener.accept().await.expect("a client");
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    // It ends with the abort: that is what the client sees.
    let _ = connection.await;
}

/// Milliseconds from the abort to the end of the client's read.
async fn round() -> f64 {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (handle, stuck) = (AbortHandle::new(), Arc::new(AtomicBool::new(false)));
    tokio::spawn(serve(listener, handle.clone(), stuck.clone()));

    let mut client = TcpStream::connect(address).await.expect("connects");
    client.write_all(b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n").await.expect("asks");
    let mut seen = Vec::new();
    while !seen.windows(5).any(|bytes| bytes == b"hello") || !stuck.load(Ordering::SeqCst) {
        if seen.windows(5).any(|bytes| bytes == b"hello") {
            sleep(Duration::from_millis(1)).await;
        } else {
            assert!(client.read_buf(&mut seen).await.expect("reads") > 0, "it ended early");
        }
    }
    let reader = tokio::spawn(async move {
        while let Ok(1..) = client.read_buf(&mut seen).await {}
        Instant::now()
    });
    sleep(Duration::from_millis(20)).await;
    let start = Instant::now();
    assert!(handle.abort("stop"));
    let end = reader.await.expect("reads to the end");
    (end - start).as_secs_f64() * 1e3
}

async fn rounds() -> Vec<f64> {
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        times.push(round().await);
    }
    times.sort_by(f64::total_cmp);
    times
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let task = async { tokio::spawn(rounds()).await };
    let times = runtime.block_on(task).expect("runs");
    println!(
        "abort of a body that blocks its thread for 10 s, {ROUNDS} rounds, hyper over loopback"
    );
    println!("median {:.2} ms, worst {:.2} ms", times[ROUNDS / 2], times[ROUNDS - 1]);
    // The threads are still asleep, and a runtime that is dropped would wait for them.
    std::process::exit(0);
}
