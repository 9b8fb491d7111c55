//! An upload that broke off.

use std::{
    error::Error,
    fmt,
    io::{self, ErrorKind},
};

use tower::BoxError;

/// The body of the request broke off: the client's doing, not the upstream's.
#[derive(Debug)]
pub(crate) struct UploadFailed(pub(super) BoxError);

impl UploadFailed {
    /// Whether the client is gone, and did not only send what can not be read.
    pub(in crate::forward) fn client_left(&self) -> bool {
        let gone = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
        let mut link: Option<&(dyn Error + 'static)> = Some(&*self.0);
        while let Some(error) = link {
            if error.downcast_ref::<io::Error>().is_some_and(|error| gone.contains(&error.kind())) {
                return true;
            }
            link = error.source();
        }
        false
    }
}

impl fmt::Display for UploadFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request's body broke off")
    }
}

impl Error for UploadFailed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}
