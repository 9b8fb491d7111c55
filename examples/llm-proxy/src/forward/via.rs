//! `Via`, by which a request of ours is known that comes back to us (RFC 9110, 7.6.3).

use http::{HeaderMap, HeaderValue, Version, header::VIA};
use tower_lifeline::exchange::Exchange;

use super::{ForwardError, headers};

/// What this process calls itself. It is random, so that another one behind it is another one, and tells nobody who it is.
#[derive(Clone, Debug)]
pub(super) struct Via(String);

impl Via {
    pub(super) fn new() -> Self {
        Self(format!("lifeline-{}", Exchange::new().id()))
    }

    /// Adds us to those that a request has passed, unless it has passed us.
    pub(super) fn pass(
        &self,
        version: Version,
        headers: &mut HeaderMap,
    ) -> Result<(), ForwardError> {
        let names = |member: &[u8]| {
            let mut words = member.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            words.nth(1) == Some(self.0.as_bytes())
        };
        if headers::tokens(headers, &VIA).any(names) {
            return Err(ForwardError::Loop);
        }
        let version = match version {
            Version::HTTP_2 => "2",
            Version::HTTP_10 => "1.0",
            _ => "1.1",
        };
        if let Ok(via) = HeaderValue::try_from(format!("{version} {}", self.0)) {
            headers.append(VIA, via);
        }
        Ok(())
    }
}
