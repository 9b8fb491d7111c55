//! The `tracing` span of a call, for what belongs to the call and runs elsewhere: a hook, as an end may come where no span is
//! (in the drop of a body), and a call that another one polls.

/// The span that was current at the call. Without the feature `tracing`, or a subscriber, it is nothing.
#[derive(Clone, Debug)]
pub(crate) struct CallSpan {
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

impl CallSpan {
    pub(crate) fn current() -> Self {
        Self {
            #[cfg(feature = "tracing")]
            span: tracing::Span::current(),
        }
    }

    pub(crate) fn in_scope<T>(&self, f: impl FnOnce() -> T) -> T {
        #[cfg(feature = "tracing")]
        let _entered = self.span.enter();
        f()
    }
}
