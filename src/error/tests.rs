//! How errors are read.

use std::{error::Error, fmt, io};

use super::{AsError, BoxError, ErrorChain};

#[derive(Debug)]
struct Link {
    message: &'static str,
    source: Option<Box<Link>>,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message)
    }
}

impl Error for Link {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Makes a chain, outermost first.
fn link(messages: &[&'static str]) -> Link {
    let [message, rest @ ..] = messages else { panic!("a chain has a link") };
    let source = (!rest.is_empty()).then(|| Box::new(link(rest)));
    Link { message, source }
}

#[test]
fn a_chain_holds_the_messages_of_an_error_and_its_sources_outermost_first() {
    let chain = ErrorChain::of(&link(&["reading a body", "connection reset", "os error 104"]));
    assert_eq!(chain.messages(), ["reading a body", "connection reset", "os error 104"]);
    assert_eq!(chain.to_string(), "reading a body: connection reset: os error 104");
    assert_eq!(ErrorChain::of(&link(&["alone"])).to_string(), "alone");
}

#[test]
fn a_wrapper_that_only_repeats_its_sources_message_is_left_out() {
    let chain = ErrorChain::of(&link(&["a", "a", "b", "b", "b", "a"]));
    assert_eq!(chain.messages(), ["a", "b", "a"]);
}

#[test]
fn a_chain_outlives_its_error_and_its_clones_are_equal() {
    let error = link(&["a", "b"]);
    let chain = ErrorChain::of(&error);
    drop(error);
    assert_eq!(chain.clone(), chain);
    assert_ne!(chain, ErrorChain::of(&link(&["a: b"])));
    assert_eq!(chain.to_string(), ErrorChain::of(&link(&["a: b"])).to_string());
}

#[test]
fn plain_and_boxed_errors_are_read_alike_and_can_be_downcast() {
    fn read<M>(error: &impl AsError<M>) -> &(dyn Error + 'static) {
        error.as_error()
    }
    let plain = io::Error::other("plain");
    let boxed = BoxError::from(io::Error::other("boxed"));
    assert!(read(&plain).is::<io::Error>());
    assert!(read(&boxed).is::<io::Error>(), "it is the error in the box");
    assert_eq!(
        (read(&plain).to_string(), read(&boxed).to_string()),
        ("plain".into(), "boxed".into())
    );
}
