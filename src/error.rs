//! How errors are read without being owned, boxed or changed.

#[cfg(test)]
mod tests;

use std::{error::Error, fmt, sync::Arc};

/// A boxed error, as hyper, axum and tonic take it from a body.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Reads a value as an error, without taking it.
///
/// Implemented for every error type and for [`BoxError`], which is none. The marker `M` is inferred and only keeps the
/// two apart, as the marker of an axum handler does: there is never a reason to name it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can not be read as an error",
    note = "the error types of services and bodies must implement `std::error::Error` or be `BoxError`"
)]
pub trait AsError<M> {
    /// Returns the error.
    fn as_error(&self) -> &(dyn Error + 'static);
}

/// Marks [`AsError`] of a type that is an error itself.
#[derive(Debug)]
pub enum Itself {}

/// Marks [`AsError`] of a [`BoxError`].
#[derive(Debug)]
pub enum Boxed {}

impl<E: Error + 'static> AsError<Itself> for E {
    fn as_error(&self) -> &(dyn Error + 'static) {
        self
    }
}

impl AsError<Boxed> for BoxError {
    fn as_error(&self) -> &(dyn Error + 'static) {
        &**self
    }
}

/// The messages of an error and of all its sources, kept after the error itself has moved on.
///
/// `Display` joins them: `error reading a body from connection: connection reset`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorChain(Arc<[String]>);

impl ErrorChain {
    /// Reads an error and its sources. A wrapper that only repeats its source's message is left out.
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        let mut messages: Vec<String> = Vec::new();
        let mut link = Some(error);
        while let Some(error) = link {
            let message = error.to_string();
            if messages.last() != Some(&message) {
                messages.push(message);
            }
            link = error.source();
        }
        Self(messages.into())
    }

    /// The messages, outermost first.
    pub fn messages(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for ErrorChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(": "))
    }
}

/// The body panicked: the error that the panic became.
#[derive(Clone, Debug)]
pub struct BodyPanicked {
    message: Arc<str>,
}

impl BodyPanicked {
    pub(crate) const fn new(message: Arc<str>) -> Self {
        Self { message }
    }

    /// The message of the panic.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for BodyPanicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the body panicked: {}", self.message)
    }
}

impl Error for BodyPanicked {}
