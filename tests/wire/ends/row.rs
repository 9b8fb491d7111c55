//! Plays one row of the tables: with our layers and without, on every server that speaks the protocol.

use std::convert::Infallible;

use axum::body::Body;
use http::{HeaderMap, Request, Response};
use testkit::{Event, H1, H2, H2Next, Log, Script};
use tower::{Layer, ServiceBuilder, service_fn};
use tower_http::compression::CompressionLayer;
use tower_lifeline::{
    exchange::Outcome,
    finalize::Ending,
    tee::{Limit, Recording, TeeLayer},
};

use crate::server::{Front, LIMIT, Server, Tell, endings};

/// One request and the answer to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    method: &'static str,
    version: &'static str,
    headers: &'static [(&'static str, &'static str)],
    compressed: bool,
    answer: fn(Script) -> Response<Script>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) wire: Wire,
    pub(crate) ending: Ending,
    /// The log of the body that was played without our layers.
    pub(crate) bare: Log,
}

/// What the client saw, but for the date.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) head: Vec<String>,
    pub(crate) body: Vec<u8>,
    pub(crate) end: Seen,
}

/// How the client saw it end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The end of the connection, as asked for.
    H1(testkit::How),
    H2(H2Next),
}

impl Row {
    /// Asks with GET, and answers with what is made of an empty script.
    pub(crate) const fn get(answer: fn(Script) -> Response<Script>) -> Self {
        Self { method: "GET", version: "HTTP/1.1", headers: &[], compressed: false, answer }
    }

    /// Asks with HEAD.
    pub(crate) const fn head(answer: fn(Script) -> Response<Script>) -> Self {
        Self { method: "HEAD", ..Self::get(answer) }
    }

    /// Asks as an HTTP/1.0 client does.
    pub(crate) const fn http_1_0(self) -> Self {
        Self { version: "HTTP/1.0", ..self }
    }

    /// Asks with these headers.
    pub(crate) const fn with(self, headers: &'static [(&'static str, &'static str)]) -> Self {
        Self { headers, ..self }
    }

    /// Puts tower-http's compression outside of everything.
    pub(crate) const fn compressed(self) -> Self {
        Self { compressed: true, ..self }
    }

    /// Plays over HTTP/1 on these servers. See [`Row::check`].
    pub(crate) async fn over_h1(
        self,
        fronts: &[Front],
        outcome: Outcome,
        last: Option<Event>,
    ) -> Played {
        self.check(fronts, false, outcome, last).await
    }

    /// Plays over HTTP/2 on these servers. See [`Row::check`].
    pub(crate) async fn over_h2(
        self,
        fronts: &[Front],
        outcome: Outcome,
        last: Option<Event>,
    ) -> Played {
        self.check(fronts, true, outcome, last).await
    }

    /// Asserts on every server that the layers change nothing for the client, that there is one ending and that it is
    /// `outcome`, that the tee agrees, and that `last` is the last thing hyper took from the body, layers or not.
    async fn check(
        self,
        fronts: &[Front],
        h2: bool,
        outcome: Outcome,
        last: Option<Event>,
    ) -> Played {
        let mut played = None;
        for &front in fronts {
            let bare = Log::new();
            let server = self.start(front, &bare, None).await;
            let expected = self.ask(&server, h2).await;
            bare.dropped_within(LIMIT).await;
            assert_eq!(last_given(&bare), last, "{front:?}: hyper has changed, see truths.md");

            let (log, (tell, endings)) = (Log::new(), endings());
            let server = self.start(front, &log, Some(tell)).await;
            let wire = self.ask(&server, h2).await;
            assert_eq!(wire, expected, "{front:?}: the layers are not transparent");
            let ending = endings.only(server).await;
            assert_eq!(ending.outcome, outcome, "{front:?}");
            let tape = ending.exchange.fact::<Recording>().unwrap();
            assert_eq!((tape.outcome(), tape.total()), (Some(outcome), ending.bytes), "{front:?}");
            assert_eq!(last_given(&log), last, "{front:?}: the layers ask for more or less");
            assert_eq!(log.count(|event| *event == Event::PollAfterEnd), 0, "{front:?}: not fused");
            played = Some(Played { wire, ending, bare });
        }
        played.unwrap()
    }

    /// Serves the answer; with the layers if there is somebody to tell.
    pub(crate) async fn start(self, front: Front, log: &Log, tell: Option<Tell>) -> Server {
        let log = log.clone();
        let answer = service_fn(move |_: Request<Body>| {
            let response = (self.answer)(Script::new().log_into(&log));
            async { Ok::<_, Infallible>(response) }
        });
        let compression = CompressionLayer::new();
        let Some(tell) = tell else {
            return match self.compressed {
                true => Server::start(front, compression.layer(answer)).await,
                false => Server::start(front, answer).await,
            };
        };
        let tee = TeeLayer::recording(Limit::first(1024));
        let watched = ServiceBuilder::new().layer(tell.layer()).layer(tee).service(answer);
        match self.compressed {
            true => Server::start(front, compression.layer(watched)).await,
            false => Server::start(front, watched).await,
        }
    }

    async fn ask(self, server: &Server, h2: bool) -> Wire {
        if h2 { self.ask_h2(server).await } else { self.ask_h1(server).await }
    }

    async fn ask_h1(self, server: &Server) -> Wire {
        let Self { method, version, .. } = self;
        let mut request = format!("{method} / {version}\r\nhost: test\r\nconnection: close\r\n");
        for (name, value) in self.headers {
            request += &format!("{name}: {value}\r\n");
        }
        let mut client = H1::connect(server.addr()).await.unwrap();
        client.send(request + "\r\n").await.unwrap();
        let head = client.read_head(LIMIT).await;
        let head = head.as_ref().map_or("", testkit::Head::as_str).lines();
        let head = head.filter(|line| !line.starts_with("date:")).map(String::from).collect();
        let end = client.read_to_end(LIMIT).await;
        Wire { head, body: end.bytes, end: Seen::H1(end.how) }
    }

    async fn ask_h2(self, server: &Server) -> Wire {
        let mut client = H2::connect(server.addr()).await.unwrap();
        let (head, mut body) = match client.request(self.method, "/", self.headers).await {
            Ok(response) => response,
            Err(end) => return Wire { head: Vec::new(), body: Vec::new(), end: Seen::H2(end) },
        };
        let lines = head.headers.iter().filter(|(name, _)| *name != "date");
        let lines = lines.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
        let head = [head.status.to_string()].into_iter().chain(lines).collect();
        let (body, end) = body.rest(LIMIT).await;
        Wire { head, body, end: Seen::H2(end) }
    }
}

impl Wire {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.iter().filter_map(|line| line.split_once(": "));
        fields.into_iter().find(|(field, _)| *field == name).map(|(_, value)| value)
    }
}

/// The last thing that the body handed out before it was over; `None` if it was never polled.
fn last_given(log: &Log) -> Option<Event> {
    let until_over = log.story().into_iter().take_while(|event| *event != Event::PollAfterEnd);
    until_over.filter(|event| !matches!(event, Event::Poll | Event::Dropped { .. })).last()
}

/// Makes trailers.
pub(crate) fn trailers() -> HeaderMap {
    HeaderMap::from_iter([("x-sum".parse().unwrap(), "5".parse().unwrap())])
}
