//! The ready-made hook that writes one `tracing` event.

use std::{borrow::Cow, fmt::Write, sync::Arc, time::Duration};

use http::{HeaderName, request::Parts, response};

use super::{Ending, Finalizer};
use crate::exchange::Outcome;

/// So many characters of each text that a client or a service chose.
const LONGEST: usize = 1024;

/// Writes one event for each exchange, with the target `tower_lifeline::finalize` and the message `exchange ended`.
///
/// The level is `INFO` for `completed`, `disconnected`, `aborted` and `discarded`, and `WARN` for the others.
///
/// | field | unit or meaning |
/// |---|---|
/// | `exchange` | the id |
/// | `method`, `path` | of the request; never the query, which may hold secrets |
/// | `outcome` | [`Outcome::as_str`] |
/// | `reason` | [`Ending::reason`], without the query and the user of any URL: it may be the message of a panic |
/// | `status`, `grpc_status` | numbers |
/// | `bytes`, `frames` | taken from the inner body and handed on |
/// | `head_ms`, `first_frame_ms`, `elapsed_ms` | milliseconds since the start |
/// | `idle_ms` | milliseconds from the last frame to the end |
/// | `drained_bytes`, `drain_end` | what was read after the client left, and [how that ended](crate::exchange::DrainEnd::as_str) |
/// | `error` | the error and its sources, without the query and the user of any URL |
/// | `headers` | those of the response that were [asked for](Self::headers), as `cf-ray=8f1; x-request-id=7` |
///
/// Fields that are not known are left out. Of each text there are 1,024 characters at most.
#[derive(Debug)]
#[must_use]
pub struct Traced {
    method: String,
    path: String,
    names: Arc<[HeaderName]>,
    headers: String,
}

impl Traced {
    /// Keeps what the event says of the request.
    pub fn new(request: &Parts) -> Self {
        Self {
            method: Self::cut(request.method.as_str()).to_owned(),
            path: Self::cut(request.uri.path()).to_owned(),
            names: Arc::default(),
            headers: String::new(),
        }
    }

    /// Says of the response head what these headers say, in this order: the ids that an upstream's support asks for. They
    /// are written as they come, so choose none that hold secrets.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use http::HeaderName;
    /// use tower_lifeline::finalize::{FinalizeLayer, Traced};
    ///
    /// let ids: Arc<[HeaderName]> = ["cf-ray", "x-request-id"].map(HeaderName::from_static).into();
    /// let layer = FinalizeLayer::with(move |request| Traced::new(request).headers(ids.clone()));
    /// # let _: tower_lifeline::finalize::Finalize<(), _, ()> = tower_layer::Layer::layer(&layer, ());
    /// ```
    pub fn headers(mut self, names: impl Into<Arc<[HeaderName]>>) -> Self {
        self.names = names.into();
        self
    }

    /// Cuts a text as the event does, for whoever keeps the same elsewhere: clients choose the method, the path and more,
    /// and both are to say the same.
    ///
    /// ```
    /// use tower_lifeline::finalize::Traced;
    ///
    /// assert_eq!(Traced::cut("GET"), "GET");
    /// assert_eq!(Traced::cut(&"X".repeat(60_000)).len(), 1024);
    /// ```
    #[must_use]
    pub fn cut(text: &str) -> &str {
        text.char_indices().nth(LONGEST).map_or(text, |(end, _)| &text[..end])
    }
}

impl Finalizer for Traced {
    fn on_response(&mut self, head: &response::Parts) {
        for name in &*self.names {
            for value in head.headers.get_all(name) {
                let separator = if self.headers.is_empty() { "" } else { "; " };
                let value = String::from_utf8_lossy(value.as_bytes());
                // A string takes all there is.
                let _ = write!(self.headers, "{separator}{name}={value}");
                self.headers = Self::cut(&self.headers).to_owned();
            }
        }
    }

    fn on_end(self, ending: Ending) {
        let headers = Some(&*self.headers).filter(|headers| !headers.is_empty());
        // tracing fixes the level of a call site, so there are two.
        macro_rules! event {
            ($level:ident) => {
                tracing::$level!(
                    target: "tower_lifeline::finalize",
                    exchange = %ending.exchange.id(),
                    method = %self.method,
                    path = %self.path,
                    outcome = ending.outcome.as_str(),
                    reason = ending.reason().map(said),
                    status = ending.status.map(|status| status.as_u16()),
                    grpc_status = ending.grpc_status,
                    bytes = ending.bytes,
                    frames = ending.frames,
                    head_ms = ending.time_to_head.map(millis),
                    first_frame_ms = ending.time_to_first_frame.map(millis),
                    idle_ms = ending.since_last_frame.map(millis),
                    elapsed_ms = millis(ending.elapsed),
                    drained_bytes = ending.drained.map(|drained| drained.bytes),
                    drain_end = ending.drained.map(|drained| drained.end.as_str()),
                    error = ending.error().map(|error| said(&error.to_string())),
                    headers,
                    "exchange ended"
                )
            };
        }
        match ending.outcome {
            Outcome::Failed | Outcome::Truncated | Outcome::TimedOut | Outcome::Panicked => {
                event!(warn);
            }
            _ => event!(info),
        }
    }
}

fn said(text: &str) -> String {
    Traced::cut(&without_secrets(text)).to_owned()
}

/// Takes the query and the user out of every URL in a text: keys are put there, and HTTP clients name the URL in their errors.
fn without_secrets(text: &str) -> String {
    let words = text.split_inclusive(char::is_whitespace);
    words.map(without_secret).collect()
}

fn without_secret(word: &str) -> Cow<'_, str> {
    // What closes behind a URL belongs to the text around it.
    let url = word.trim_end_matches(|c: char| c.is_whitespace() || ")]>}\"'`,;:.".contains(c));
    let behind = &word[url.len()..];
    // A URL may have no scheme, and a word more than one URL.
    let place = match url.split_once('?') {
        Some((place, query)) if place.contains(['/', ':']) || query.contains(['=', '/', '?']) => {
            place
        }
        _ => url,
    };
    let mut told = String::with_capacity(word.len());
    for (at, part) in place.split("://").enumerate() {
        let authority = part.split('/').next().unwrap_or(part);
        let user = if at == 0 { None } else { authority.rfind('@') };
        told.push_str(if at == 0 { "" } else { "://" });
        told.push_str(&part[user.map_or(0, |user| user + 1)..]);
    }
    if told.len() == url.len() {
        return Cow::Borrowed(word);
    }
    Cow::Owned(told + behind)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
