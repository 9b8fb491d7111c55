//! Reads one answer over HTTP/1 or HTTP/2, where the promise is the same for both.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use testkit::{H1, H2, H2Body, H2Next, Head, How, dechunk};

use crate::server::LIMIT;

/// Says how a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    H1,
    H2,
}

impl Wire {
    pub(crate) const BOTH: [Self; 2] = [Self::H1, Self::H2];
}

/// Is an answer whose head was read. Dropped, its client leaves.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    body: Reading,
}

#[derive(Debug)]
enum Reading {
    H1(H1),
    H2 { _client: H2, body: H2Body, so_far: Vec<u8> },
}

/// Says how a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// In order.
    Clean,
    /// The connection or the stream broke.
    Cut,
    /// It is still open.
    Open,
}

impl Answer {
    /// Connects, asks with GET and reads the head.
    pub(crate) async fn get(wire: Wire, addr: SocketAddr) -> Self {
        Self::get_path(wire, addr, "/").await
    }

    pub(crate) async fn get_path(wire: Wire, addr: SocketAddr, path: &str) -> Self {
        match wire {
            Wire::H1 => Self::h1(H1::connect(addr).await.unwrap(), path).await,
            Wire::H2 => Self::h2(H2::connect(addr).await.unwrap(), path).await,
        }
    }

    /// The same with little room for what is not read yet, so that the server is soon held back.
    pub(crate) async fn get_slowly(wire: Wire, addr: SocketAddr) -> Self {
        match wire {
            Wire::H1 => Self::h1(H1::connect_with_small_buffers(addr).await.unwrap(), "/").await,
            Wire::H2 => Self::h2(H2::with_window(addr, 16 * 1024).await.unwrap(), "/").await,
        }
    }

    async fn h1(mut client: H1, path: &str) -> Self {
        client.get(path).await.unwrap();
        let head = client.read_head(LIMIT).await.unwrap();
        let (status, headers) = (head.status().unwrap(), headers(&head));
        Self { status, headers, body: Reading::H1(client) }
    }

    async fn h2(mut client: H2, path: &str) -> Self {
        let (head, body) = client.request("GET", path, &[]).await.unwrap();
        let body = Reading::H2 { _client: client, body, so_far: Vec::new() };
        Self { status: head.status.as_u16(), headers: head.headers, body }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Reads until the body ends in these bytes, and gives all of it so far.
    pub(crate) async fn read_to(&mut self, tail: &str) -> String {
        let bytes = match &mut self.body {
            Reading::H1(client) => {
                let done = |raw: &[u8]| dechunk(raw).body.ends_with(tail.as_bytes());
                let raw = client.read_until(done, LIMIT).await;
                dechunk(&raw.unwrap_or_else(|end| panic!("before {tail:?}: {end:?}"))).body
            }
            Reading::H2 { body, so_far, .. } => {
                while !so_far.ends_with(tail.as_bytes()) {
                    match body.next(LIMIT).await {
                        H2Next::Data(data) => so_far.extend_from_slice(&data),
                        end => panic!("before {tail:?}: {end:?}"),
                    }
                }
                so_far.clone()
            }
        };
        String::from_utf8(bytes).unwrap()
    }

    /// Reads to the end, and gives all of the body and how it ended.
    pub(crate) async fn rest(&mut self) -> (String, Over) {
        let length = self.header("content-length").map(|length| length.parse().unwrap());
        let (bytes, over) = match &mut self.body {
            Reading::H1(client) => {
                let done = |raw: &[u8]| match length {
                    Some(length) => raw.len() >= length,
                    None => raw.ends_with(b"\r\n\r\n") && dechunk(raw).complete,
                };
                let (raw, over) = match client.read_until(done, LIMIT).await {
                    Ok(raw) => (raw, Over::Clean),
                    Err(end) if end.how == How::TimedOut => (end.bytes, Over::Open),
                    Err(end) => (end.bytes, Over::Cut),
                };
                (if length.is_some() { raw } else { dechunk(&raw).body }, over)
            }
            Reading::H2 { body, so_far, .. } => loop {
                let over = match body.next(LIMIT).await {
                    H2Next::Data(data) => {
                        so_far.extend_from_slice(&data);
                        continue;
                    }
                    H2Next::End | H2Next::Trailers(_) => Over::Clean,
                    H2Next::Reset(_) | H2Next::Gone(_) => Over::Cut,
                    H2Next::TimedOut => Over::Open,
                };
                break (so_far.clone(), over);
            },
        };
        (String::from_utf8(bytes).unwrap(), over)
    }
}

fn headers(head: &Head) -> HeaderMap {
    let fields = head.as_str().lines().skip(1).filter_map(|line| line.split_once(':'));
    let parse = |(name, value): (&str, &str)| {
        let name = name.parse::<HeaderName>().unwrap();
        (name, value.trim().parse::<HeaderValue>().unwrap())
    };
    fields.map(parse).collect()
}
