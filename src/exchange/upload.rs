//! Who is waited for before the response head: the client, or the service.

use std::sync::{Arc, Mutex};

use tokio::time::Instant;

use super::Exchange;
use crate::cut::lock;

/// Who has to act next on the body of the request, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upload {
    /// Nobody watches it.
    Unwatched,
    /// Nobody: the client waits to be told that it is wanted, and was not yet.
    Expected,
    /// The client: the service asked for more, and nothing has come.
    Client(Instant),
    /// The service: it has not asked for more.
    Service(Instant),
    /// The service has all that it will take.
    Given(Instant),
}

/// Writes the state of one body. To drop it says that the service wants no more of it.
#[derive(Debug)]
pub(crate) struct UploadState(Arc<Mutex<Upload>>);

/// Where an exchange finds the state.
#[derive(Debug, Default)]
pub(super) struct Watched(Mutex<Option<Arc<Mutex<Upload>>>>);

impl Exchange {
    /// Who is waited for, as the body says that was watched last: the one that is nearest to the service, or that of the
    /// newest attempt.
    pub(crate) fn upload(&self) -> Upload {
        let watched = lock(&self.0.upload.0).clone();
        watched.map_or(Upload::Unwatched, |state| *lock(&state))
    }

    /// Begins to watch a body. What was watched before does not count any more.
    pub(crate) fn watch_upload(&self, from: Upload) -> UploadState {
        let state = Arc::new(Mutex::new(from));
        *lock(&self.0.upload.0) = Some(state.clone());
        UploadState(state)
    }
}

impl UploadState {
    /// The service asked, and there is nothing yet.
    pub(crate) fn asked(&self) {
        let mut state = lock(&self.0);
        if let Upload::Service(_) | Upload::Expected = *state {
            *state = Upload::Client(Instant::now());
        }
    }

    /// The service has taken some of it.
    pub(crate) fn taken(&self) {
        *lock(&self.0) = Upload::Service(Instant::now());
    }

    /// The service has all of it.
    pub(crate) fn given(&self) {
        let mut state = lock(&self.0);
        if !matches!(*state, Upload::Given(_)) {
            *state = Upload::Given(Instant::now());
        }
    }
}

impl Drop for UploadState {
    fn drop(&mut self) {
        self.given();
    }
}
