//! Reads what the library logs.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::{DefaultGuard, set_default},
};

/// Keeps the events that the library logs on this thread, which is where all tasks of a test run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<Line>>>);

/// Is an event: its level, message and fields.
#[derive(Clone, Debug)]
pub(crate) struct Line(Vec<(&'static str, String)>);

impl Lines {
    /// Reads until the guard is dropped.
    pub(crate) fn read() -> (Self, DefaultGuard) {
        let lines = Self::default();
        (lines.clone(), set_default(lines))
    }

    /// The lines with this message.
    pub(crate) fn with(&self, message: &str) -> Vec<Line> {
        let lines = self.0.lock().unwrap();
        lines.iter().filter(|line| line.get("message") == Some(message)).cloned().collect()
    }
}

impl Line {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let field = self.0.iter().find(|(field, _)| *field == name);
        field.map(|(_, value)| value.as_str())
    }

    /// A field that is a number.
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}")).parse().unwrap()
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push((field.name(), format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), value.to_owned()));
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("tower_lifeline")
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(vec![("level", event.metadata().level().to_string())]);
        event.record(&mut line);
        self.0.lock().unwrap().push(line);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
