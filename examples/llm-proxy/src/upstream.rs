//! Where requests go, and how the protocol to it is chosen.

use std::{fmt, str::FromStr};

use http::{
    Uri,
    uri::{Authority, PathAndQuery, Scheme},
};

pub(crate) mod roots;
#[cfg(test)]
mod tests;

/// How the upstream is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// TLS; ALPN chooses between the two.
    Tls,
}

/// The base URL that every request is sent under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upstream {
    protocol: Protocol,
    authority: Authority,
    /// Without the slash at its end, so that a path can follow; mostly empty.
    prefix: String,
}

impl Upstream {
    /// The upstream at `authority`, spoken to in HTTP/1.1.
    pub(crate) fn plain(authority: Authority) -> Self {
        Self { protocol: Protocol::Http1, authority, prefix: String::new() }
    }

    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The URI under which the upstream knows what the client called `uri`. The bytes of path and query are kept.
    pub(crate) fn uri(&self, uri: &Uri) -> Result<Uri, http::Error> {
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let path = match path.as_str() {
            "*" => path,
            text if self.prefix.is_empty() && text.starts_with('/') => path,
            // `http://host?query` has no slash of its own.
            text if text.starts_with('?') => format!("{}/{text}", self.prefix).parse()?,
            text => format!("{}{text}", self.prefix).parse()?,
        };
        let scheme = match self.protocol {
            Protocol::Tls => Scheme::HTTPS,
            Protocol::Http1 | Protocol::Http2 => Scheme::HTTP,
        };
        Uri::builder().scheme(scheme).authority(self.authority.clone()).path_and_query(path).build()
    }
}

impl FromStr for Upstream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: Uri = text.parse().map_err(|error| format!("{error}"))?;
        let protocol = match uri.scheme_str() {
            Some("http") => Protocol::Http1,
            Some("h2c") => Protocol::Http2,
            Some("https") => Protocol::Tls,
            _ => return Err("it must begin with http://, h2c:// or https://".to_owned()),
        };
        let authority = match uri.authority() {
            Some(authority) if !authority.host().is_empty() => authority.clone(),
            _ => return Err("it names no host".to_owned()),
        };
        if authority.as_str().contains('@') {
            return Err("it must not hold a user name or a password".to_owned());
        }
        if text.contains(['?', '#']) {
            return Err("a base URL has no query and no fragment".to_owned());
        }
        Ok(Self { protocol, authority, prefix: uri.path().trim_end_matches('/').to_owned() })
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protocol {
            Protocol::Http1 => "http",
            Protocol::Http2 => "h2c",
            Protocol::Tls => "https",
        };
        write!(f, "{scheme}://{}{}", self.authority, self.prefix)
    }
}
