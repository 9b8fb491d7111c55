use std::{
    convert::Infallible,
    io::{self, ErrorKind},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex},
    sync::mpsc::{self, UnboundedReceiver},
    time::{Instant, sleep, timeout},
};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

use super::{Tunnel, TunnelBody, TunnelError, TunnelLayer};
use crate::{
    abort::{AbortHandle, AbortLayer},
    coalesce::CoalesceLayer,
    detach::{DetachLayer, DrainLimits},
    exchange::{Cause, Outcome},
    finalize::{Ending, FinalizeLayer},
    keepalive::IdleKeepaliveLayer,
    tee::{Limit, Recording, TeeLayer},
    timeouts::{Limits, TimeoutsLayer},
};

const LONG: Duration = Duration::from_secs(3600);

/// A tunnel that stands in all layers, as its three parties see it.
struct Open {
    browser: DuplexStream,
    server: DuplexStream,
    endings: UnboundedReceiver<Ending>,
}

impl Open {
    async fn ending(&mut self) -> Ending {
        let ending = timeout(LONG, self.endings.recv()).await.unwrap().unwrap();
        assert!(self.endings.try_recv().is_err(), "two endings");
        ending
    }

    async fn outcome(&mut self) -> (Outcome, Option<String>) {
        let ending = self.ending().await;
        assert_eq!(ending.status, Some(StatusCode::SWITCHING_PROTOCOLS));
        (ending.outcome, ending.reason().map(str::to_owned))
    }
}

/// What is asked, how it is limited, and by whom it may be aborted.
async fn open(limits: Limits, handle: &AbortHandle) -> Open {
    let ((client, browser), (upstream, server)) = (duplex(1024), duplex(1024));
    let (ended, endings) = mpsc::unbounded_channel();
    let sides = Arc::new(Mutex::new(Some((client, upstream))));
    let handle = handle.clone();
    let service = ServiceBuilder::new()
        .layer(TunnelLayer)
        .layer(IdleKeepaliveLayer::new(Duration::from_millis(1)))
        .layer(DetachLayer::new(DrainLimits::new()))
        .layer(AbortLayer::new(move |_| handle.child()))
        .layer(TimeoutsLayer::new(limits))
        .layer(FinalizeLayer::new(move |_| {
            let ended = ended.clone();
            move |ending| drop(ended.send(ending))
        }))
        .layer(TeeLayer::recording(Limit::first(1024)))
        .layer(CoalesceLayer::new(1024))
        .service(service_fn(move |_: Request<()>| {
            let (client, upstream) = sides.lock().unwrap().take().unwrap();
            let client = async { Ok::<_, io::Error>(client) };
            let mut response = Response::new(TunnelBody::new(client, upstream));
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response.extensions_mut().insert(Tunnel);
            async { Ok::<_, Infallible>(response) }
        }));
    let response = service.oneshot(Request::new(())).await.unwrap();
    assert!(response.body().is_end_stream(), "the server has something to send");
    Open { browser, server, endings }
}

async fn unlimited() -> Open {
    open(Limits::new(), &AbortHandle::new()).await
}

async fn says(from: &mut DuplexStream, to: &mut DuplexStream, what: &[u8]) {
    let mut heard = vec![0; what.len()];
    let (sent, read) = tokio::join!(from.write_all(what), to.read_exact(&mut heard));
    sent.unwrap();
    read.unwrap();
    assert_eq!(heard, what);
}

async fn hears_the_end(side: &mut DuplexStream) {
    assert_eq!(timeout(LONG, side.read(&mut [0; 8])).await.unwrap().unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn bytes_pass_both_ways_and_those_to_the_client_are_counted() {
    let mut tunnel = unlimited().await;
    let large: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for what in [&b"ping"[..], &large, b"pong"] {
        says(&mut tunnel.browser, &mut tunnel.server, what).await;
        says(&mut tunnel.server, &mut tunnel.browser, what).await;
    }
    drop(tunnel.server);
    hears_the_end(&mut tunnel.browser).await;
    drop(tunnel.browser);
    let ending = tunnel.endings.recv().await.unwrap();
    assert_eq!((ending.outcome, ending.bytes), (Outcome::Completed, 100_008));
}

#[tokio::test(start_paused = true)]
async fn both_directions_move_at_once() {
    let tunnel = unlimited().await;
    let (mut hears, mut says) = tokio::io::split(tunnel.browser);
    let (mut echo_hears, mut echo_says) = tokio::io::split(tunnel.server);
    tokio::spawn(async move { tokio::io::copy(&mut echo_hears, &mut echo_says).await });
    let sent: Vec<u8> = (0..=255).cycle().take(1_000_000).collect();
    let mut heard = vec![0; sent.len()];
    let (written, read) = tokio::join!(says.write_all(&sent), hears.read_exact(&mut heard));
    written.unwrap();
    read.unwrap();
    assert!(heard == sent, "other bytes");
}

#[tokio::test(start_paused = true)]
async fn a_side_that_ends_its_writing_lets_the_other_finish() {
    let mut tunnel = unlimited().await;
    tunnel.browser.shutdown().await.unwrap();
    hears_the_end(&mut tunnel.server).await;
    sleep(Duration::from_secs(55)).await;
    says(&mut tunnel.server, &mut tunnel.browser, &[1; 10_000]).await;
    sleep(Duration::from_secs(55)).await;
    says(&mut tunnel.server, &mut tunnel.browser, b"bye").await;
    tunnel.server.shutdown().await.unwrap();
    hears_the_end(&mut tunnel.browser).await;
    assert_eq!(tunnel.outcome().await, (Outcome::Completed, None));

    let mut tunnel = unlimited().await;
    tunnel.server.shutdown().await.unwrap();
    hears_the_end(&mut tunnel.browser).await;
    sleep(Duration::from_millis(90)).await;
    says(&mut tunnel.browser, &mut tunnel.server, &[2; 10_000]).await;
    tunnel.browser.shutdown().await.unwrap();
    hears_the_end(&mut tunnel.server).await;
    assert_eq!(tunnel.outcome().await, (Outcome::Completed, None));
}

#[tokio::test(start_paused = true)]
async fn a_side_that_has_ended_is_not_waited_for_by_a_silent_one() {
    for (client_first, outcome, limit) in [
        (true, Outcome::Disconnected, Duration::from_secs(60)),
        (false, Outcome::Completed, Duration::from_secs(1)),
    ] {
        let mut tunnel = unlimited().await;
        says(&mut tunnel.server, &mut tunnel.browser, b"hello").await;
        let first = if client_first { &mut tunnel.browser } else { &mut tunnel.server };
        first.shutdown().await.unwrap();
        let begun = Instant::now();
        assert_eq!(tunnel.outcome().await, (outcome, None));
        let elapsed = begun.elapsed();
        assert!((limit..limit + Duration::from_millis(5)).contains(&elapsed), "{elapsed:?}");
        // Both are let go.
        hears_the_end(&mut tunnel.browser).await;
        hears_the_end(&mut tunnel.server).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_unanswered_has_disconnected_and_the_upstream_knows() {
    let mut tunnel = unlimited().await;
    let (gone, _) = duplex(1);
    drop(std::mem::replace(&mut tunnel.browser, gone));
    hears_the_end(&mut tunnel.server).await;
    let (gone, _) = duplex(1);
    drop(std::mem::replace(&mut tunnel.server, gone));
    assert_eq!(tunnel.outcome().await, (Outcome::Disconnected, None));
}

/// A WebSocket, and not only what looks like one.
#[tokio::test(start_paused = true)]
async fn a_client_that_was_sent_a_close_frame_may_leave_first() {
    for (says, frames, client) in [
        (&b"\x81\x02hi\x88\x00"[..], true, None),
        (b"\x81\x02hi\x88\x00", false, Some(())),
        (b"\x81\x02\x88\x00", true, Some(())),
    ] {
        let ((client_side, mut browser), (upstream, mut server)) = (duplex(64), duplex(64));
        let body = TunnelBody::new(async { Ok::<_, io::Error>(client_side) }, upstream);
        let mut body = if frames { body.websocket() } else { body };
        server.write_all(says).await.unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), says);
        browser.shutdown().await.unwrap();
        let begun = Instant::now();
        let end = body.frame().await;
        let left = end.map(|end| assert!(matches!(end, Err(TunnelError::Client(_)))));
        assert_eq!(left, client, "{says:?}");
        assert_eq!(begun.elapsed() < Duration::from_secs(2), client.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_while_it_is_written_to_has_disconnected() {
    let mut tunnel = unlimited().await;
    let (gone, _) = duplex(1);
    drop(std::mem::replace(&mut tunnel.browser, gone));
    while tunnel.server.write_all(&[0; 512]).await.is_ok() {}
    assert_eq!(tunnel.outcome().await, (Outcome::Disconnected, None));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_holds_the_other_back() {
    let mut tunnel = unlimited().await;
    let mut taken = 0;
    while let Ok(written) = timeout(Duration::from_secs(1), tunnel.server.write(&[7; 512])).await {
        taken += written.unwrap();
    }
    // The room of both pipes, and of the flow.
    assert!((2 * 1024..=2 * 1024 + 16 * 1024).contains(&taken), "{taken}");
    let mut read = vec![0; taken];
    tunnel.browser.read_exact(&mut read).await.unwrap();
    says(&mut tunnel.server, &mut tunnel.browser, b"go on").await;
}

#[tokio::test(start_paused = true)]
async fn an_abort_drops_both_sides_while_nobody_reads() {
    let handle = AbortHandle::new();
    let mut tunnel = open(Limits::new(), &handle).await;
    while timeout(Duration::from_secs(1), tunnel.server.write(&[7; 512])).await.is_ok() {}
    assert!(handle.abort("stop"));
    assert_eq!(tunnel.outcome().await, (Outcome::Aborted, Some("stop".to_owned())));
    let written = tunnel.server.write(&[7; 512]).await;
    assert_eq!(written.unwrap_err().kind(), ErrorKind::BrokenPipe);
    let written = tunnel.browser.write(&[7; 512]).await;
    assert_eq!(written.unwrap_err().kind(), ErrorKind::BrokenPipe);
    assert!(!handle.abort("again"));
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_may_be_silent_for_hours_and_ends_at_the_total_limit() {
    let short = Some(Duration::from_millis(500));
    let limits = Limits::new()
        .head(short)
        .first_frame(short)
        .idle(short)
        .unread(short)
        .total(Some(Duration::from_secs(10 * 3600)));
    let mut tunnel = open(limits, &AbortHandle::new()).await;
    sleep(LONG).await;
    says(&mut tunnel.server, &mut tunnel.browser, b"still there").await;
    sleep(LONG).await;
    says(&mut tunnel.browser, &mut tunnel.server, b"yes").await;
    sleep(LONG * 7).await;
    assert!(tunnel.endings.try_recv().is_err());
    sleep(LONG).await;
    assert_eq!(tunnel.outcome().await, (Outcome::TimedOut, Some("total".to_owned())));
    hears_the_end(&mut tunnel.server).await;
}

#[tokio::test(start_paused = true)]
async fn what_passes_through_a_tunnel_is_nobodys_recording() {
    let mut tunnel = unlimited().await;
    says(&mut tunnel.server, &mut tunnel.browser, b"secret").await;
    drop(tunnel.server);
    drop(tunnel.browser);
    let ending = tunnel.endings.recv().await.unwrap();
    assert!(ending.exchange.fact::<Recording>().unwrap().to_bytes().is_empty());
    assert!(ending.drained.is_none());
}

/// A peer whose connection breaks.
struct Breaks(ErrorKind);

impl AsyncRead for Breaks {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Err(self.0.into()))
    }
}

impl AsyncWrite for Breaks {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(self.0.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

async fn breaks<C, U>(mut body: TunnelBody<C, U>) -> (TunnelError, Outcome)
where
    TunnelBody<C, U>: Body<Data = bytes::Bytes, Error = TunnelError> + Unpin,
{
    let error = body.frame().await.unwrap().unwrap_err();
    assert!(body.frame().await.is_none(), "something after the end");
    assert!(body.is_end_stream());
    let outcome = Cause::failed(&error).outcome();
    (error, outcome)
}

#[tokio::test]
async fn the_side_that_broke_is_told() {
    let (idle, _other) = duplex(1);
    let client = async { Ok::<_, io::Error>(idle) };
    let (error, outcome) =
        breaks(TunnelBody::new(client, Breaks(ErrorKind::ConnectionReset))).await;
    assert!(matches!(error, TunnelError::Upstream(_)), "{error:?}");
    assert_eq!(outcome, Outcome::Failed);

    let (idle, _other) = duplex(1);
    let client = async { Ok::<_, io::Error>(Breaks(ErrorKind::ConnectionReset)) };
    let (error, outcome) = breaks(TunnelBody::new(client, idle)).await;
    assert!(matches!(error, TunnelError::Client(_)), "{error:?}");
    assert_eq!(outcome, Outcome::Disconnected);

    let (idle, _other) = duplex(1);
    let never = async { Err::<DuplexStream, _>(io::Error::other("no upgrade")) };
    let (error, outcome) = breaks(TunnelBody::new(never, idle)).await;
    assert_eq!(
        crate::error::ErrorChain::of(&error).to_string(),
        "the client left the tunnel: no upgrade"
    );
    assert_eq!(outcome, Outcome::Disconnected);
}

#[tokio::test(start_paused = true)]
async fn tls_that_ends_without_a_farewell_ends() {
    let (idle, _other) = duplex(1);
    let client = async { Ok::<_, io::Error>(idle) };
    let mut body = TunnelBody::new(client, Breaks(ErrorKind::UnexpectedEof));
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn without_the_mark_or_without_a_tunnel_the_body_is_the_servers() {
    for (status, marked) in [(101, false), (200, true)] {
        let service = ServiceBuilder::new().layer(TunnelLayer).service(service_fn(
            move |_: Request<()>| async move {
                let mut response = Response::new(testkit::Script::new().data("a body"));
                *response.status_mut() = StatusCode::from_u16(status).unwrap();
                if marked {
                    response.extensions_mut().insert(Tunnel);
                }
                Ok::<_, Infallible>(response)
            },
        ));
        let mut service = service;
        let response = service.ready().await.unwrap().call(Request::new(())).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "a body");
    }
}
