//! What a layer costs: nanoseconds and allocations per frame of 64 bytes, side by side with the bare body and with
//! tower-http's `TimeoutBody`, in one run.
//!
//! `cargo bench --bench overhead`. The subjects take turns, round by round, so that whatever else the machine does hits all
//! alike; the median round counts. The first frame is taken before the allocations are counted: what is allocated per
//! response is not per frame. A frame is always one of the upstream's, also where several are gathered into one.

#![allow(clippy::expect_used)] // A bench that can not run shall say so.

use std::{
    convert::Infallible,
    hint::black_box,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use allocation_counter::measure;
use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use tokio::{runtime, task::unconstrained, time::Instant};
use tower_http::timeout::TimeoutBody;
use tower_lifeline::{
    Media,
    abort::{AbortBody, AbortHandle},
    coalesce::CoalesceBody,
    detach::{DetachBody, DetachLayer, DrainLimits},
    error::BoxError,
    final_frame::{Final, FinalFrameBody},
    finalize::FinalizeBody,
    keepalive::{Heartbeat, IdleKeepaliveBody},
    tee::{Limit, Recording, TeeBody},
    timeouts::{Activity, Limits, TimeoutsBody},
};

const FRAMES: u32 = 100_000;
const ROUNDS: usize = 31;
const MINUTE: Duration = Duration::from_secs(60);

/// One SSE event of 64 bytes, always ready.
struct Events(u32);

const EVENT: &[u8; 64] =
    b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\" hello\"}}]}  \n\n";

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.0 == 0 {
            return Poll::Ready(None);
        }
        self.0 -= 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(EVENT)))))
    }
}

type Boxed = UnsyncBoxBody<Bytes, BoxError>;

fn boxed<B>(body: B) -> Boxed
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    UnsyncBoxBody::new(body.map_err(Into::into))
}

fn tee<B>(body: B) -> impl Body<Data = Bytes, Error = Infallible>
where
    B: Body<Data = Bytes, Error = Infallible>,
{
    TeeBody::new(body, Recording::new(Limit::last(64 * 1024)).sink())
}

fn limited<B: Body + Send + 'static>(body: B) -> TimeoutsBody<B> {
    let limits = Limits::new().first_frame(MINUTE).idle(MINUTE).unread(MINUTE);
    TimeoutsBody::new(body, &limits, Activity::events())
}

fn detached<B: Body + Send + 'static>(body: B) -> DetachBody<B> {
    DetachBody::new(body, &DetachLayer::new(DrainLimits::new()))
}

fn gathered(events: Events) -> CoalesceBody<Events> {
    CoalesceBody::new(events, 16 * 1024)
}

fn stack<B>(events: B) -> Boxed
where
    B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let finalized = FinalizeBody::new(tee(events), |ending| drop(black_box(ending)));
    let abortable = AbortBody::new(limited(finalized), &AbortHandle::new());
    let ended = FinalFrameBody::new(detached(abortable), Media::EventStream, Final::by_media);
    boxed(IdleKeepaliveBody::new(ended, MINUTE, Heartbeat::comment()))
}

type Subject = (&'static str, fn(Events) -> Boxed);

const SUBJECTS: [Subject; 12] = [
    ("bare body", |events| boxed(events)),
    ("tower-http TimeoutBody", |events| boxed(TimeoutBody::new(MINUTE, events))),
    ("tee, last 64 KiB", |events| boxed(tee(events))),
    ("finalize", |events| boxed(FinalizeBody::new(events, |ending| drop(black_box(ending))))),
    ("abort", |events| boxed(AbortBody::new(events, &AbortHandle::new()))),
    ("timeouts", |events| boxed(limited(events))),
    ("detach", |events| boxed(detached(events))),
    ("final frame", |events| {
        boxed(FinalFrameBody::new(events, Media::EventStream, Final::by_media))
    }),
    ("keepalive", |events| boxed(IdleKeepaliveBody::new(events, MINUTE, Heartbeat::comment()))),
    ("all seven", |events| stack(events)),
    // Here every frame waits behind the one before; where none does it costs as much and gathers nothing.
    ("coalesce, 16 KiB", |events| boxed(gathered(events))),
    ("all seven, and coalesce", |events| stack(gathered(events))),
];

/// Reads a body to its end: nanoseconds per frame.
async fn nanos(body: Boxed) -> f64 {
    let mut body = pin!(body);
    let start = Instant::now();
    while let Some(frame) = body.frame().await {
        let _ = black_box(frame);
    }
    start.elapsed().as_nanos() as f64 / f64::from(FRAMES)
}

fn main() {
    let runtime = runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let mut rounds = vec![Vec::new(); SUBJECTS.len()];
    for _ in 0..ROUNDS {
        for ((_, make), times) in SUBJECTS.iter().zip(&mut rounds) {
            // In a task, where tokio's budget counts as it does in a server.
            let task = async { tokio::spawn(nanos(make(Events(FRAMES)))).await };
            times.push(runtime.block_on(task).expect("reads to the end"));
        }
    }
    let medians: Vec<f64> = rounds
        .into_iter()
        .map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[ROUNDS / 2]
        })
        .collect();
    let (bare, timeout) = (medians[0], medians[1]);
    println!("{FRAMES} frames of {} bytes, median of {ROUNDS} rounds", EVENT.len());
    println!(
        "{:24} {:>9} {:>9} {:>15} {:>13}",
        "", "ns/frame", "x bare", "x TimeoutBody", "allocs/frame"
    );
    for ((name, make), median) in SUBJECTS.iter().zip(&medians) {
        let mut body = make(Events(FRAMES));
        let (mut allocations, frames) = (0, FRAMES - 1);
        runtime.block_on(unconstrained(async {
            let _ = body.frame().await;
            let counted = measure(|| {
                // There is no budget, so that it never yields in here.
                let mut cx = Context::from_waker(std::task::Waker::noop());
                while let Poll::Ready(Some(frame)) = Pin::new(&mut body).poll_frame(&mut cx) {
                    let _ = black_box(frame);
                }
            });
            allocations = counted.count_total;
        }));
        let allocations = allocations as f64 / f64::from(frames);
        println!(
            "{name:24} {median:9.1} {:9.2} {:15.2} {allocations:13.5}",
            median / bare,
            median / timeout,
        );
    }
}
