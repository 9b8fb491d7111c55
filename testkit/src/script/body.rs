use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{Eos, Script, ScriptError, Step};
use crate::{Event, Polled};

impl Script {
    fn play(&mut self, cx: &mut Context<'_>) -> Polled<Self> {
        loop {
            match self.steps.pop_front().unwrap_or(Step::End) {
                Step::Data(data) => return self.give(data),
                Step::Endless(chunk) => {
                    self.steps.push_front(Step::Endless(chunk.clone()));
                    return self.give(chunk);
                }
                Step::Pending => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Step::Stall => return self.stay(Step::Stall),
                Step::Sleep(length) => {
                    // Made here, for a script may be built where there is no runtime.
                    self.steps.push_front(Step::Asleep(Box::pin(tokio::time::sleep(length))));
                }
                Step::Asleep(mut sleep) => {
                    if sleep.as_mut().poll(cx).is_pending() {
                        return self.stay(Step::Asleep(sleep));
                    }
                }
                Step::Wait(gate, ticket) => {
                    if gate.poll(ticket, cx).is_pending() {
                        return self.stay(Step::Wait(gate, ticket));
                    }
                }
                Step::Error(message) => {
                    self.finish(Event::Error);
                    return Poll::Ready(Some(Err(ScriptError::new(message))));
                }
                Step::Panic(message) => {
                    self.finish(Event::Panic);
                    panic!("{message}");
                }
                Step::Trailers(trailers) => {
                    self.finish(Event::Trailers);
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Step::End => {
                    self.finish(Event::End);
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn stay(&mut self, step: Step) -> Polled<Self> {
        self.steps.push_front(step);
        Poll::Pending
    }

    fn give(&mut self, data: Bytes) -> Polled<Self> {
        self.log.push(Event::Data(data.len()));
        self.hint = less(self.hint, data.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn finish(&mut self, event: Event) {
        self.log.push(event);
        self.over = true;
    }
}

fn less(hint: SizeHint, given: u64) -> SizeHint {
    let mut left = SizeHint::new();
    left.set_lower(hint.lower().saturating_sub(given));
    if let Some(upper) = hint.upper() {
        left.set_upper(upper.saturating_sub(given));
    }
    left
}

impl Body for Script {
    type Data = Bytes;
    type Error = ScriptError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled<Self> {
        self.log.push(Event::Poll);
        if self.over {
            self.log.push(Event::PollAfterEnd);
        }
        self.play(cx)
    }

    fn is_end_stream(&self) -> bool {
        let ends = |step: Option<&Step>| matches!(step, None | Some(Step::End));
        match self.eos {
            Eos::Truthful => ends(self.steps.front()),
            Eos::Never => false,
            Eos::Always => true,
            Eos::Gated => {
                let open = |step: &&Step| matches!(step, Step::Wait(gate, _) if gate.is_open());
                ends(self.steps.iter().find(|step| !open(step)))
            }
            Eos::Late(asks) => {
                ends(self.steps.front()) && self.asked.fetch_add(1, Ordering::SeqCst) >= asks
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.log.push(Event::Dropped { panicking: std::thread::panicking() });
    }
}
