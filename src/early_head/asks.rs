//! Whether a request asks for an event stream.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use http::request::Parts;

use super::accepts_event_stream;
use crate::{
    exchange::Exchange,
    json::{Reader, Token},
    tee::Sink,
};

/// Whether the JSON body of a request has the member `"stream": true`: a fact in the exchange, which becomes known while the
/// body passes.
///
/// The member may stand anywhere in the outermost object, behind any number of messages, in constant memory; one in a nested
/// object is none. Of several the last counts, and one that is not `true` says no, as for the servers of most providers.
///
/// ```
/// use std::{convert::Infallible, time::Duration};
/// use http::{Request, Response};
/// use http_body_util::{BodyExt, Full};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
/// use tower_lifeline::{
///     early_head::{AsksForStream, EarlyHeadLayer},
///     tee::{TeeBody, TeeRequestLayer},
///     upload::UploadLayer,
/// };
/// # use bytes::Bytes;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let service = ServiceBuilder::new()
///     .layer(EarlyHeadLayer::new(Duration::from_secs(5)))
///     .layer(TeeRequestLayer::new(AsksForStream::sink))
///     .layer(UploadLayer::new()) // The time counts from the end of the upload.
///     .service(service_fn(|request: Request<_>| async {
///         let _question = BodyExt::collect(request.into_body()).await;
///         tokio::time::sleep(Duration::from_secs(20)).await; // It thinks.
///         Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("{}")))
///     }));
///
/// let question = |stream| {
///     let messages = "x".repeat(1_000_000);
///     Request::new(Full::<Bytes>::from(format!(r#"{{"messages":"{messages}","stream":{stream}}}"#)))
/// };
/// let start = tokio::time::Instant::now();
/// service.clone().oneshot(question(true)).await.unwrap();
/// assert_eq!(start.elapsed().as_secs(), 5);
/// service.oneshot(question(false)).await.unwrap();
/// assert_eq!(start.elapsed().as_secs(), 5 + 20);
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct AsksForStream(Arc<AtomicBool>);

impl AsksForStream {
    /// Makes what reads the body of a request, for [`TeeRequestLayer`](crate::tee::TeeRequestLayer), and leaves the fact in
    /// the exchange.
    pub fn sink(request: &Parts) -> AsksForStreamSink {
        let asks = Self::default();
        if let Some(exchange) = Exchange::get(&request.extensions) {
            exchange.insert(asks.clone());
        }
        AsksForStreamSink { asks, json: Reader::default(), named: false }
    }

    /// What is known by now.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Reads the body of a request. Made by [`AsksForStream::sink`].
pub struct AsksForStreamSink {
    asks: AsksForStream,
    json: Reader,
    /// What follows is the value of that member.
    named: bool,
}

impl Sink for AsksForStreamSink {
    fn data(&mut self, data: Bytes) {
        let mut at = 0;
        while let Some((depth, token)) = self.json.next(&data, &mut at) {
            let asks = match (depth, token) {
                (1, Token::Name(name)) => {
                    self.named = name == b"stream";
                    false
                }
                (1, Token::Bool(value)) => value,
                _ => continue,
            };
            if self.named {
                self.asks.0.store(asks, Ordering::Relaxed);
            }
        }
    }
}

impl fmt::Debug for AsksForStreamSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsksForStreamSink").field("asks", &self.asks.get()).finish_non_exhaustive()
    }
}

/// Tells whether a request asks for an event stream, as far as it is known by now: what it returns may be asked again.
///
/// | the body ([`AsksForStream`], where it is read) | `Accept` | |
/// |---|---|---|
/// | `"stream": true` | anything | yes |
/// | anything else | an event stream, and not JSON too ([`accepts_event_stream`]) | yes |
/// | anything else | anything else | no |
pub fn asks_for_event_stream(request: &Parts) -> AsksForEventStream {
    let accepts = accepts_event_stream(&request.headers);
    AsksForEventStream { accepts, exchange: Exchange::get(&request.extensions) }
}

/// Whether a request asks for a stream. Made by [`asks_for_event_stream`].
// A type with a name and without a `dyn`, in which the compiler would not see that the layers' futures are `Send`.
#[derive(Clone, Debug)]
pub struct AsksForEventStream {
    accepts: bool,
    exchange: Option<Exchange>,
}

impl AsksForEventStream {
    #[cfg(feature = "final-frame")]
    pub(crate) const NEVER: Self = Self { accepts: false, exchange: None };
}

impl WantsStream for AsksForEventStream {
    fn wants_stream(&mut self) -> bool {
        let body = self.exchange.as_ref().and_then(Exchange::fact::<AsksForStream>);
        self.accepts || body.is_some_and(|asks| asks.get())
    }
}

/// Tells whether a client wants a stream. Implemented for closures.
pub trait WantsStream {
    /// Tells it, as far as it is known by now; may be asked again.
    fn wants_stream(&mut self) -> bool;
}

impl<F: FnMut() -> bool> WantsStream for F {
    fn wants_stream(&mut self) -> bool {
        self()
    }
}
