//! Why a request got no answer from the upstream.

use std::{error::Error, fmt};

use hyper_util::client::legacy;

use super::{again::find, upload::UploadFailed};

/// Why there is no response head.
#[derive(Debug)]
pub(crate) enum ForwardError {
    /// No connection to the upstream could be made.
    Unreachable(legacy::Error),
    /// The client did not send its request to the end.
    Upload(legacy::Error),
    /// A connection was there, and it failed before a response head came.
    Failed(legacy::Error),
    /// It changed the protocol, which nobody had asked for.
    Switched,
    /// It switched to a WebSocket, and then its connection was gone.
    Upgrade(hyper::Error),
    /// Its head is too large.
    ResponseHead,
    /// The head of the request is too large.
    RequestHead,
    /// It names no host, or more than one.
    Host,
    /// It has passed this process.
    Loop,
    /// Its body is in a transfer coding beside `chunked`.
    RequestCoding,
    /// The answer's body is.
    ResponseCoding,
    /// A WebSocket can not be had from an HTTP/2 upstream.
    NoWebSocket,
    /// The request's target can not be expressed under the upstream's base URL.
    Target(http::Error),
    /// CONNECT: a reverse proxy opens no tunnels.
    Tunnel,
}

impl From<legacy::Error> for ForwardError {
    fn from(error: legacy::Error) -> Self {
        if error.is_connect() {
            Self::Unreachable(error)
        } else if find::<UploadFailed>(&error).is_some() {
            Self::Upload(error)
        } else {
            Self::Failed(error)
        }
    }
}

impl ForwardError {
    /// Whether it is the client that is gone.
    pub(crate) fn client_left(&self) -> bool {
        matches!(self, Self::Upload(error) if find(error).is_some_and(UploadFailed::client_left))
    }
}

impl fmt::Display for ForwardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Upload(_) => "the request did not come to its end",
            Self::Unreachable(_) => "the upstream can not be reached",
            Self::Failed(_) => "the upstream failed before it answered",
            Self::Switched => "the upstream switched protocols unasked",
            Self::Upgrade(_) => "the upstream failed when it had switched protocols",
            Self::ResponseHead => "the head of the upstream's answer is too large",
            Self::RequestHead => "the head of the request is too large",
            Self::Host => "the request does not name one host",
            Self::Loop => "the request has come back to where it was sent from",
            Self::RequestCoding => "the request is in a transfer coding that is not supported",
            Self::ResponseCoding => {
                "the upstream's answer is in a transfer coding that is not supported"
            }
            Self::NoWebSocket => "the upstream takes no WebSockets",
            Self::Target(_) => "the upstream has no such address",
            Self::Tunnel => "CONNECT is not supported",
        })
    }
}

impl Error for ForwardError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Upload(error) | Self::Unreachable(error) | Self::Failed(error) => Some(error),
            Self::Target(error) => Some(error),
            Self::Upgrade(error) => Some(error),
            Self::Switched
            | Self::ResponseHead
            | Self::RequestHead
            | Self::Host
            | Self::Loop
            | Self::RequestCoding
            | Self::ResponseCoding
            | Self::NoWebSocket
            | Self::Tunnel => None,
        }
    }
}
