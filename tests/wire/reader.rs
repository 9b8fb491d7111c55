//! Reads one response over HTTP/1 or HTTP/2, for tests that promise the same of both.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::HeaderMap;
use testkit::{H1, H2, H2Body, H2Next, Head, How, Reason, dechunk};

use crate::server::{Front, LIMIT, Server};

/// Is a server and the protocol that it is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    H1(Front),
    H2(Front),
}

impl Wire {
    /// Every server, with each protocol that it speaks.
    pub(crate) const ALL: [Self; 6] = [
        Self::H1(Front::H1),
        Self::H1(Front::Auto),
        Self::H1(Front::Axum),
        Self::H2(Front::H2),
        Self::H2(Front::Auto),
        Self::H2(Front::Axum),
    ];

    /// One for each protocol, where the server makes no difference.
    pub(crate) const BOTH: [Self; 2] = [Self::H1(Front::H1), Self::H2(Front::H2)];

    pub(crate) const fn front(self) -> Front {
        match self {
            Self::H1(front) | Self::H2(front) => front,
        }
    }

    /// Says how a body ends that was cut: without the last chunk, or by a reset.
    pub(crate) const fn cut(self) -> Over {
        match self {
            Self::H1(_) => Over::Cut,
            Self::H2(_) => Over::Reset(Reason::INTERNAL_ERROR),
        }
    }
}

/// Is a response whose head was read.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) status: u16,
    wire: Response,
}

#[derive(Debug)]
enum Response {
    H1 { client: H1, head: Head, length: Option<usize> },
    H2 { _client: H2, headers: HeaderMap, body: H2Body, frames: Vec<Bytes> },
}

/// Says how the body ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// The last chunk, or the end of the stream.
    Clean,
    Trailers(HeaderMap),
    /// The end of the connection, with no last chunk before it.
    Cut,
    Reset(Reason),
    /// It is still open.
    Open,
}

impl Over {
    fn broken(how: How) -> Self {
        if how == How::TimedOut { Self::Open } else { Self::Cut }
    }
}

impl Reader {
    /// Connects, asks with GET and reads the head.
    pub(crate) async fn get(wire: Wire, server: &Server) -> Self {
        Self::get_with_room(wire, server, 65_535).await
    }

    /// The same with room for so many bytes that are not read yet. Less than usual holds the server back soon. More
    /// lets HTTP/2 clients take a flood of small frames, which they refuse by that measure.
    pub(crate) async fn get_with_room(wire: Wire, server: &Server, room: u32) -> Self {
        Self::get_at(wire, server.addr(), room).await
    }

    /// The same of a server that the test made itself.
    pub(crate) async fn get_at(wire: Wire, addr: SocketAddr, room: u32) -> Self {
        match wire {
            Wire::H1(_) => {
                let connected = if room < 65_535 {
                    H1::connect_with_small_buffers(addr).await
                } else {
                    H1::connect(addr).await
                };
                let mut client = connected.unwrap();
                client.get("/").await.unwrap();
                let head = client.read_head(LIMIT).await.unwrap();
                let length = head.header("content-length").map(|length| length.parse().unwrap());
                let status = head.status().unwrap();
                Self { status, wire: Response::H1 { client, head, length } }
            }
            Wire::H2(_) => {
                let mut client = H2::with_window(addr, room).await.unwrap();
                let (head, body) = client.request("GET", "/", &[]).await.unwrap();
                let (headers, frames) = (head.headers, Vec::new());
                let wire = Response::H2 { _client: client, headers, body, frames };
                Self { status: head.status.as_u16(), wire }
            }
        }
    }

    /// Gives a header of the head.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        match &self.wire {
            Response::H1 { head, .. } => head.header(name),
            Response::H2 { headers, .. } => headers.get(name)?.to_str().ok(),
        }
    }

    /// Reads until the body ends in these bytes, and gives all of it so far.
    pub(crate) async fn read_to(&mut self, tail: &str) -> Vec<u8> {
        match &mut self.wire {
            Response::H1 { client, .. } => {
                let done = |raw: &[u8]| dechunk(raw).body.ends_with(tail.as_bytes());
                let raw = client.read_until(done, LIMIT).await;
                dechunk(&raw.unwrap_or_else(|end| panic!("before {tail:?}: {end:?}"))).body
            }
            Response::H2 { body, frames, .. } => {
                while !frames.concat().ends_with(tail.as_bytes()) {
                    match body.next(LIMIT).await {
                        H2Next::Data(data) => frames.push(data),
                        end => panic!("before {tail:?}: {end:?}"),
                    }
                }
                frames.concat()
            }
        }
    }

    /// Reads to the end, and gives all of the body and how it ended.
    pub(crate) async fn rest(&mut self) -> (String, Over) {
        let (body, over) = self.rest_within(LIMIT).await;
        (String::from_utf8(body).unwrap(), over)
    }

    /// The same with a limit: for all of it (HTTP/1), for each frame (HTTP/2).
    pub(crate) async fn rest_within(&mut self, limit: Duration) -> (Vec<u8>, Over) {
        match &mut self.wire {
            Response::H1 { client, length: Some(length), .. } => {
                let raw = client.read_until(|raw| raw.len() >= *length, limit).await;
                raw.map_or_else(|end| (end.bytes, Over::broken(end.how)), |raw| (raw, Over::Clean))
            }
            Response::H1 { client, .. } => {
                // The last chunk comes in the last bytes, so that a long body is not decoded again and again.
                let done = |raw: &[u8]| raw.ends_with(b"\r\n\r\n") && dechunk(raw).complete;
                let (raw, how) = match client.read_until(done, limit).await {
                    Ok(raw) => (raw, None),
                    Err(end) => (end.bytes, Some(end.how)),
                };
                let body = dechunk(&raw);
                let over = match how {
                    None if body.trailers.is_empty() => Over::Clean,
                    None => Over::Trailers(body.trailers),
                    Some(how) => Over::broken(how),
                };
                assert!(body.rest.is_empty(), "something follows the body: {:?}", body.rest);
                (body.body, over)
            }
            Response::H2 { body, frames, .. } => loop {
                let over = match body.next(limit).await {
                    H2Next::Data(data) => {
                        frames.push(data);
                        continue;
                    }
                    H2Next::End => Over::Clean,
                    H2Next::Trailers(trailers) => Over::Trailers(trailers),
                    H2Next::Reset(reason) => Over::Reset(reason),
                    H2Next::TimedOut => Over::Open,
                    H2Next::Gone(_) => Over::Cut,
                };
                return (frames.concat(), over);
            },
        }
    }

    /// Reads to a clean end, and gives the chunks or DATA frames of the whole body, one by one.
    pub(crate) async fn frames(mut self) -> Vec<Bytes> {
        let (_, over) = self.rest_within(LIMIT).await;
        assert_eq!(over, Over::Clean);
        match self.wire {
            Response::H1 { mut client, .. } => dechunk(&client.take()).chunks,
            Response::H2 { frames, .. } => frames,
        }
    }
}
