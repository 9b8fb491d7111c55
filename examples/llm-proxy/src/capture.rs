//! What is kept of each response. No byte is kept twice: an answer that replay holds, or that came from its store, is not recorded
//! once more. Of that only the size is known here.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::{HeaderMap, request, response};
use tower_lifeline::{
    exchange::{Exchange, Outcome},
    replay::Replayed,
    tee::{Budget, Limit, Recording, RecordingSink, Sink, TeeLayer},
};

/// What all recordings together may hold.
pub(crate) fn total(bytes: Option<usize>) -> Budget {
    Budget::new(bytes.unwrap_or(usize::MAX))
}

/// Captures up to so many bytes of each response, as long as there is room in `total`.
pub(crate) fn layer(
    bytes: Option<usize>,
    total: &Budget,
) -> TeeLayer<impl Fn(&request::Parts) -> CaptureSink + Clone + use<>> {
    let most = bytes.unwrap_or(usize::MAX);
    let limit = Limit::first(most).within(total);
    TeeLayer::new(move |request: &request::Parts| {
        let exchange = Exchange::get(&request.extensions);
        CaptureSink::new(Recording::new(limit.clone()), most as u64, exchange)
    })
}

/// What was captured of a response, as a fact in its exchange.
#[derive(Clone, Debug)]
pub(crate) struct Captured {
    recording: Recording,
    /// So much of what replay holds would be captured.
    most: Option<u64>,
}

impl Captured {
    /// Whether some of the bytes that passed were not kept.
    pub(crate) fn is_truncated(&self) -> bool {
        self.most
            .map_or_else(|| self.recording.is_truncated(), |most| self.recording.total() > most)
    }
}

/// Captures one response.
#[derive(Debug)]
pub(crate) struct CaptureSink {
    sink: RecordingSink,
    recording: Recording,
    most: u64,
    exchange: Option<Exchange>,
}

impl CaptureSink {
    fn new(recording: Recording, most: u64, exchange: Option<Exchange>) -> Self {
        let sink = Self { sink: recording.sink(), recording, most, exchange };
        sink.tell(None);
        sink
    }

    fn tell(&self, most: Option<u64>) {
        if let Some(exchange) = &self.exchange {
            exchange.insert(Captured { recording: self.recording.clone(), most });
        }
    }
}

impl Sink for CaptureSink {
    fn head(&mut self, head: &response::Parts) {
        if self.exchange.as_ref().and_then(Exchange::fact::<Replayed>).is_none() {
            return self.sink.head(head);
        }
        self.recording = Recording::new(Limit::first(0));
        self.sink = self.recording.sink();
        self.tell(Some(self.most));
    }

    fn data(&mut self, data: Bytes) {
        self.sink.data(data);
    }

    fn trailers(&mut self, trailers: &HeaderMap) {
        self.sink.trailers(trailers);
    }

    fn end(self, outcome: Outcome) {
        self.sink.end(outcome);
    }
}
