//! The `tracing` span of a call, in which its hook runs: an end may come where no span is, as in the drop of a body.

/// The span that was current at the call. Without the feature `tracing`, or a subscriber, it is nothing.
#[derive(Clone, Debug)]
pub(super) struct CallSpan {
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

impl CallSpan {
    pub(super) fn current() -> Self {
        Self {
            #[cfg(feature = "tracing")]
            span: tracing::Span::current(),
        }
    }

    pub(super) fn in_scope<T>(&self, f: impl FnOnce() -> T) -> T {
        #[cfg(feature = "tracing")]
        let _entered = self.span.enter();
        f()
    }
}
