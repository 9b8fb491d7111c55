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

use super::{
    Budget, READ_AHEAD, Source, Terms, Upload,
    budget::OVERHEAD,
    pieces::BLOCK,
    read::{DRAIN_BYTES, DRAIN_TIME},
};
use crate::forward::answer;
use crate::testing::{Endless, full, soon};

/// An upload that gets no answer.
fn started<B>(body: B, budget: &Budget, terms: Terms) -> (Source, Upload)
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (_, begun) = answer::watch(Exchange::new());
    Source::new(body, begun, budget, terms)
}

/// An upload that gets no answer and is not sent again.
fn unanswered<B>(body: B) -> Upload
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    started(body, &Budget::new(None), Terms::default()).1
}

const KEEP: Terms = Terms { keep: true, expects: false };
const EXPECTS: Terms = Terms { keep: true, expects: true };

async fn read(upload: Upload) -> Bytes {
    soon(upload.collect()).await.unwrap().to_bytes()
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
    let mut data = Vec::new();
    let seen = loop {
        match soon(body.frame()).await.unwrap().unwrap().into_data() {
            Ok(piece) => data.extend_from_slice(&piece),
            Err(frame) => break frame.into_trailers().unwrap(),
        }
    };
    assert_eq!((data, seen), (b"ab".to_vec(), trailers));
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
    for size in [1, 1000, READ_AHEAD, 2 * READ_AHEAD] {
        let (flood, frames, _dropped) = Flood::new(size);
        let budget = Budget::new(None);
        let (_source, mut body) = started(flood, &budget, Terms::default());
        sleep(Duration::from_secs(1)).await;
        let waiting = frames.load(Ordering::Relaxed);
        assert!(waiting * size <= READ_AHEAD + size, "{waiting} frames of {size} bytes");
        let used = budget.used();
        assert!(used >= READ_AHEAD, "{used} bytes for {waiting} frames of {size} bytes");
        assert!(used <= READ_AHEAD + READ_AHEAD / 16 + 2 * size, "{used} for frames of {size}");

        let mut taken = 0;
        while taken < size {
            taken += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
        }
        sleep(Duration::from_secs(1)).await;
        let more = frames.load(Ordering::Relaxed) - waiting;
        assert!((1..=2 + 16 * 1024 / size).contains(&more), "{more} frames of {size} bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_upstream_dropped_is_read_on_to_a_bound() {
    for size in [0, 1 << 20] {
        let (flood, frames, dropped) = Flood::new(size);
        drop(unanswered(flood));
        soon(dropped).await.unwrap_err();
        let drained = frames.load(Ordering::Relaxed) * (size + OVERHEAD);
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

/// What was asked of a body.
#[derive(Clone, Default)]
struct Asked(Arc<AtomicUsize>);

struct Watched(Asked, Option<Bytes>);

impl Body for Watched {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.0.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(self.1.take().map(|data| Ok(Frame::data(data))))
    }
}

#[tokio::test]
async fn what_the_upstream_had_is_sent_again_from_the_start() {
    let (mut upload, body) = Channel::<Bytes>::new(1);
    let budget = Budget::new(None);
    let (source, mut first) = started(body, &budget, KEEP);
    for piece in ["one ", "two "] {
        upload.send_data(piece.into()).await.unwrap();
        soon(first.frame()).await.unwrap().unwrap();
    }
    let second = source.again().unwrap();
    first.frame().await.unwrap().unwrap_err();
    drop(first);
    upload.send_data("three".into()).await.unwrap();
    drop(upload);
    assert_eq!(read(second).await, "one two three");
    drop(source);
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn a_body_that_nothing_was_taken_of_can_be_sent_again_though_none_is_kept() {
    let (source, first) = started(full("question"), &Budget::new(Some(0)), Terms::default());
    let second = source.again().unwrap();
    drop(first);
    assert_eq!(read(second).await, "question");
    assert!(source.again().is_none());
}

#[tokio::test]
async fn a_mebibyte_is_kept_and_more_is_not() {
    for (size, kept) in [(1 << 20, true), ((1 << 20) + 1, false)] {
        for chunk in [3000, 60_000] {
            let body = vec![b'x'; size];
            let (mut upload, channel) = Channel::<Bytes>::new(1);
            let sent = body.clone();
            tokio::spawn(async move {
                for piece in sent.chunks(chunk) {
                    upload.send_data(Bytes::copy_from_slice(piece)).await.unwrap();
                }
            });
            let (source, first) = started(channel, &Budget::new(None), KEEP);
            assert_eq!(read(first).await, body);
            let again = source.again();
            assert_eq!(again.is_some(), kept, "{size} bytes by {chunk}");
            if let Some(again) = again {
                assert_eq!(read(again).await, body);
            }
        }
    }
}

#[tokio::test]
async fn what_came_in_one_large_frame_is_handed_on_in_small_ones() {
    let sent: Vec<u8> = (0..=255).cycle().take(1_000_001).collect();
    let mut body = unanswered(full(sent.clone()));
    let mut read = Vec::new();
    while let Some(frame) = soon(body.frame()).await {
        let data = frame.unwrap().into_data().unwrap();
        assert!((1..=BLOCK).contains(&data.len()), "{}", data.len());
        read.extend_from_slice(&data);
    }
    assert!(read == sent);
}

#[tokio::test]
async fn a_body_in_any_number_of_small_pieces_is_kept_and_costs_what_it_is() {
    let (mut upload, body) = Channel::<Bytes>::new(1);
    let budget = Budget::new(None);
    let (source, mut first) = started(body, &budget, KEEP);
    let mut sent = Vec::new();
    for n in 0..5000 {
        let piece = format!("piece {n}, ");
        sent.extend_from_slice(piece.as_bytes());
        upload.send_data(piece.into()).await.unwrap();
        soon(first.frame()).await.unwrap().unwrap();
    }
    drop(upload);
    assert!(soon(first.frame()).await.is_none());
    let (used, length) = (budget.used(), sent.len());
    assert!((length..length + 2 * BLOCK).contains(&used), "{used} for {length}");
    assert!(read(source.again().unwrap()).await == sent);
    drop(source);
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn what_is_sent_again_has_its_trailers_and_what_was_not_taken_yet() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "42".parse().unwrap());
    for taken in 0..3 {
        let (mut upload, body) = Channel::<Bytes>::new(8);
        for piece in ["one ", "two ", "three"] {
            upload.send_data(piece.into()).await.unwrap();
        }
        upload.send_trailers(trailers.clone()).await.unwrap();
        drop(upload);
        let (source, mut first) = started(body, &Budget::new(None), KEEP);
        for _ in 0..taken {
            soon(first.frame()).await.unwrap().unwrap();
        }
        let whole = soon(source.again().unwrap().collect()).await.unwrap();
        assert_eq!(whole.trailers(), Some(&trailers), "{taken}");
        assert_eq!(whole.to_bytes(), "one two three", "{taken}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_none_shows_so_and_one_that_is_late_does_not() {
    let (upload, body) = Channel::<Bytes>::new(1);
    let (mut source, first) = started(body, &Budget::new(None), KEEP);
    assert!(source.proved_empty().await.is_none(), "nothing is known yet");
    drop(upload);
    let none = source.proved_empty().await.unwrap();
    assert!(none.is_end_stream());
    assert_eq!(none.size_hint().exact(), Some(0));
    drop(first);

    let (mut source, first) = started(full("question"), &Budget::new(None), KEEP);
    assert!(source.proved_empty().await.is_none());
    assert_eq!(read(first).await, "question");
}

#[tokio::test(start_paused = true)]
async fn beyond_the_budget_a_body_is_read_as_fast_as_it_is_taken_and_not_kept() {
    let budget = Budget::new(Some(100_000));
    let mut uploads = Vec::new();
    for _ in 0..10 {
        let (flood, frames, _) = Flood::new(10_000);
        let (source, upload) = started(flood, &budget, KEEP);
        uploads.push((source, upload, frames));
    }
    sleep(Duration::from_secs(1)).await;
    let used = budget.used();
    assert!((100_000..100_000 + 10 * 20_000).contains(&used), "{used}");
    // Each goes on nevertheless.
    for (source, upload, frames) in &mut uploads {
        let before = frames.load(Ordering::Relaxed);
        for _ in 0..30 {
            soon(upload.frame()).await.unwrap().unwrap();
        }
        assert!(source.again().is_none());
        assert!(frames.load(Ordering::Relaxed) - before <= 31);
    }
}

#[tokio::test(start_paused = true)]
async fn a_small_frame_is_a_copy_and_holds_no_buffer_of_others() {
    let buffer = Bytes::from(vec![b'x'; 64 * 1024]);
    let (mut upload, body) = Channel::<Bytes>::new(1);
    let budget = Budget::new(None);
    let (_source, _first) = started(body, &budget, KEEP);
    for at in 0..100 {
        upload.send_data(buffer.slice(at..at + 1)).await.unwrap();
    }
    sleep(Duration::from_secs(1)).await;
    assert!(buffer.is_unique());
    assert!(budget.used() < 20_000, "{}", budget.used());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_expects_to_be_asked_is_not_read_before() {
    let asked = Asked::default();
    let body = Watched(asked.clone(), Some("question".into()));
    let (source, upload) = started(body, &Budget::new(None), EXPECTS);
    let mut answer = tokio::spawn(read(upload));
    tokio::time::timeout(Duration::from_secs(5), &mut answer).await.unwrap_err();
    assert_eq!(asked.0.load(Ordering::Relaxed), 0);
    source.ask();
    assert_eq!(soon(answer).await.unwrap(), "question");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_was_answered_or_given_up_before_it_was_asked_is_never_read() {
    for answered in [true, false] {
        let asked = Asked::default();
        let body = Watched(asked.clone(), Some("question".into()));
        let (source, mut upload) = started(body, &Budget::new(None), EXPECTS);
        if answered {
            assert!(source.answered());
            soon(upload.frame()).await.unwrap().unwrap_err();
        }
        drop((source, upload));
        sleep(Duration::from_secs(1)).await;
        assert_eq!(asked.0.load(Ordering::Relaxed), 0);
    }
}
