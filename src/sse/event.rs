//! Writes events.

use std::{error::Error, fmt};

use bytes::Bytes;

/// Writes one server-sent event.
///
/// ```
/// use tower_lifeline::sse::Event;
///
/// let event = Event::data("one\ntwo").event("greeting").unwrap();
/// assert_eq!(event.to_bytes(), "event: greeting\ndata: one\ndata: two\n\n");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    fields: String,
    data: String,
}

/// The value of a field can not be written as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidEvent {
    field: &'static str,
}

impl fmt::Display for InvalidEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the `{}` field of an event can not hold a line end or U+0000", self.field)
    }
}

impl Error for InvalidEvent {}

impl Event {
    /// Begins an event with its data. Every line of it becomes a `data` line; CR and CR LF are line ends too, so that no
    /// data can begin another field.
    pub fn data(data: impl AsRef<str>) -> Self {
        let data = data.as_ref().replace("\r\n", "\n").replace('\r', "\n");
        let data = data.split('\n').map(|line| format!("data: {line}\n")).collect();
        Self { fields: String::new(), data }
    }

    /// Sets the type. Clients take `message` where there is none.
    ///
    /// # Errors
    /// If `name` holds a line end or U+0000.
    pub fn event(self, name: &str) -> Result<Self, InvalidEvent> {
        self.field("event", name)
    }

    /// Sets the id that a client repeats as `Last-Event-ID`.
    ///
    /// # Errors
    /// If `id` holds a line end or U+0000.
    pub fn id(self, id: &str) -> Result<Self, InvalidEvent> {
        self.field("id", id)
    }

    /// Sets how long a client waits before it connects again: in milliseconds on the wire, whole ones.
    #[must_use]
    pub fn retry(mut self, after: std::time::Duration) -> Self {
        self.fields.push_str(&format!("retry: {}\n", after.as_millis()));
        self
    }

    fn field(mut self, field: &'static str, value: &str) -> Result<Self, InvalidEvent> {
        if value.contains(['\n', '\r', '\0']) {
            return Err(InvalidEvent { field });
        }
        self.fields.push_str(&format!("{field}: {value}\n"));
        Ok(self)
    }

    /// The event as it goes over the wire, with the blank line that ends it.
    pub fn to_bytes(&self) -> Bytes {
        format!("{}{}\n", self.fields, self.data).into()
    }
}
