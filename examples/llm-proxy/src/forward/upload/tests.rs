use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, channel::Channel};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};
use tower::BoxError;
use tower_lifeline::{error::ErrorChain, exchange::Exchange};

use super::{DRAIN_BYTES, DRAIN_TIME, FRAME_COST, READ_AHEAD, Upload};
use crate::forward::answer;
use crate::testing::{Endless, full, soon};

/// An upload that gets no answer.
fn unanswered<B>(body: B) -> Upload
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (_, begun) = answer::watch(Exchange::new());
    Upload::new(body, begun)
}

/// A body without end, which counts what was read of it.
struct Flood {
    frame: Bytes,
    frames: Arc<AtomicUsize>,
    _gone: oneshot::Sender<Infallible>,
}

impl Flood {
    fn new(size: usize) -> (Self, Arc<AtomicUsize>, oneshot::Receiver<Infallible>) {
        let (gone, dropped) = oneshot::channel();
        let frames = Arc::default();
        let flood = Self { frame: vec![0; size].into(), frames: Arc::clone(&frames), _gone: gone };
        (flood, frames, dropped)
    }
}

impl Body for Flood {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.frames.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(self.frame.clone()))))
    }
}

#[tokio::test]
async fn data_and_trailers_pass_in_order_and_then_comes_the_end() {
    let (mut upload, body) = Channel::<Bytes>::new(1);
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "42".parse().unwrap());
    let sent = trailers.clone();
    tokio::spawn(async move {
        for piece in ["a", "", "b"] {
            upload.send_data(piece.into()).await.unwrap();
        }
        upload.send_trailers(sent).await.unwrap();
    });
    let mut body = unanswered(body);
    for piece in ["a", "", "b"] {
        let frame = soon(body.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
    }
    let frame = soon(body.frame()).await.unwrap().unwrap();
    assert_eq!(frame.into_trailers().unwrap(), trailers);
    for _ in 0..2 {
        assert!(soon(body.frame()).await.is_none());
        assert!(body.is_end_stream());
    }
}

#[tokio::test]
async fn an_announced_length_is_passed_on_and_counted_down() {
    let mut body = unanswered(full("question"));
    assert_eq!(body.size_hint().exact(), Some(8));
    soon(body.frame()).await.unwrap().unwrap();
    assert_eq!(body.size_hint().exact(), Some(0));

    let (_upload, body) = Channel::<Bytes>::new(1);
    assert_eq!(unanswered(body).size_hint().exact(), None);
}

#[tokio::test]
async fn an_empty_body_says_so_at_once() {
    let body = unanswered(Empty::new());
    assert!(body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(0));
}

#[tokio::test]
async fn an_upload_that_breaks_off_fails_at_the_upstream_too() {
    let (mut upload, body) = Channel::<Bytes, std::io::Error>::new(1);
    upload.send_data("half".into()).await.unwrap();
    upload.abort(std::io::Error::other("cable cut"));
    let mut body = unanswered(body);
    soon(body.frame()).await.unwrap().unwrap();
    let error = soon(body.frame()).await.unwrap().unwrap_err();
    assert_eq!(ErrorChain::of(&*error).to_string(), "the request's body broke off: cable cut");
    assert!(soon(body.frame()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn no_more_waits_for_the_upstream_than_the_bound() {
    for size in [0, 1, 1000, READ_AHEAD, 2 * READ_AHEAD] {
        let (flood, frames, _dropped) = Flood::new(size);
        let mut body = unanswered(flood);
        sleep(Duration::from_secs(1)).await;
        let waiting = frames.load(Ordering::Relaxed);
        let most = READ_AHEAD / (size + FRAME_COST).min(READ_AHEAD);
        assert_eq!(waiting, most + 1, "frames of {size} bytes");

        body.frame().await.unwrap().unwrap();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(frames.load(Ordering::Relaxed), waiting + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_upstream_dropped_is_read_on_to_a_bound() {
    for size in [0, 1 << 20] {
        let (flood, frames, dropped) = Flood::new(size);
        drop(unanswered(flood));
        soon(dropped).await.unwrap_err();
        let drained = frames.load(Ordering::Relaxed) * (size + FRAME_COST);
        assert!(drained >= DRAIN_BYTES, "{drained}");
        assert!(drained <= DRAIN_BYTES + 2 * READ_AHEAD, "{drained}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_never_ends_is_given_up_when_its_time_is_over() {
    let (endless, dropped) = Endless::new("x");
    let mut body = unanswered(endless);
    body.frame().await.unwrap().unwrap();
    sleep(DRAIN_TIME * 3).await;
    let start = Instant::now();
    drop(body);
    dropped.await.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), DRAIN_TIME.as_secs());
}

#[test]
fn an_upload_that_dies_with_its_runtime_never_looks_complete() {
    let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
    let first = runtime();
    let (mut upload, body) = Channel::<Bytes>::new(1);
    let mut body = first.block_on(async { unanswered(body) });
    first.block_on(upload.send_data("half".into())).unwrap();
    first.block_on(tokio::task::yield_now());
    drop(first);
    runtime().block_on(async {
        let last = loop {
            match body.frame().await {
                Some(Ok(_)) => {}
                last => break last,
            }
        };
        assert!(last.unwrap().is_err());
    });
}
