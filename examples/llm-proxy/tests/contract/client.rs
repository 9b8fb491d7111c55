//! Clients of the proxy, over HTTP/1 and HTTP/2 alike, and what they ask the simulation.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use testkit::{H1, H2, H2Body, H2Next, Head, How, Reason, dechunk};
use tokio::time::{Instant, sleep};

use crate::common::{LIMIT, Proxy};

/// Which protocol a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    H1,
    H2,
}

pub(crate) const WIRES: [Wire; 2] = [Wire::H1, Wire::H2];

/// How the body ended for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// h1: the final chunk. h2: END_STREAM.
    Clean,
    /// h1: no final chunk. h2: RST_STREAM.
    Cut,
}

/// A client that has a response head.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) status: u16,
    pub(crate) id: String,
    pub(crate) side: Side,
}

#[derive(Debug)]
pub(crate) enum Side {
    H1(H1),
    H2(H2, H2Body),
}

impl Client {
    /// Asks with a GET and waits for the head. An HTTP/1 body is to be a chunked one.
    pub(crate) async fn get(wire: Wire, proxy: &Proxy, path: &str) -> Self {
        match wire {
            Wire::H1 => {
                let mut client = H1::connect(proxy.addr).await.unwrap();
                client.get(path).await.unwrap();
                Self::answered(client).await
            }
            Wire::H2 => {
                let mut client = H2::connect(proxy.addr).await.unwrap();
                let (head, body) = client.request("GET", path, &[]).await.unwrap();
                let id = head.headers["x-exchange-id"].to_str().unwrap().to_owned();
                Self { status: head.status.as_u16(), id, side: Side::H2(client, body) }
            }
        }
    }

    /// As [`get`](Self::get), and accepts an event stream.
    pub(crate) async fn get_stream(wire: Wire, proxy: &Proxy) -> Self {
        let accept = ("accept", "text/event-stream");
        match wire {
            Wire::H1 => {
                let mut client = H1::connect(proxy.addr).await.unwrap();
                client.get_with("/", &[accept]).await.unwrap();
                Self::answered(client).await
            }
            Wire::H2 => {
                let mut client = H2::connect(proxy.addr).await.unwrap();
                let (head, body) = client.request("GET", "/", &[accept]).await.unwrap();
                let id = head.headers["x-exchange-id"].to_str().unwrap().to_owned();
                Self { status: head.status.as_u16(), id, side: Side::H2(client, body) }
            }
        }
    }

    /// Asks with a POST, and tells what `x-replay` says.
    pub(crate) async fn post(
        wire: Wire,
        proxy: &Proxy,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (Self, String) {
        match wire {
            Wire::H1 => {
                let mut client = H1::connect(proxy.addr).await.unwrap();
                client.send(h1_post(path, headers, body)).await.unwrap();
                let head = client.read_head(LIMIT).await.unwrap();
                let id = head.header("x-exchange-id").unwrap().to_owned();
                let replay = head.header("x-replay").unwrap_or_default().to_owned();
                (Self { status: head.status().unwrap(), id, side: Side::H1(client) }, replay)
            }
            Wire::H2 => {
                let mut client = H2::connect(proxy.addr).await.unwrap();
                let call = client.post(path, headers, body.to_owned()).await.unwrap();
                let (head, body) = call.head(LIMIT).await.unwrap();
                let told = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
                let told = |name| told(name).unwrap_or_default().to_owned();
                let (id, replay) = (told("x-exchange-id"), told("x-replay"));
                (Self { status: head.status.as_u16(), id, side: Side::H2(client, body) }, replay)
            }
        }
    }

    /// Sends a request as it is, over HTTP/1, and waits for the head.
    pub(crate) async fn send(proxy: &Proxy, request: impl AsRef<[u8]>) -> Self {
        let mut client = H1::connect(proxy.addr).await.unwrap();
        client.send(request).await.unwrap();
        Self::answered(client).await
    }

    async fn answered(mut client: H1) -> Self {
        let head = client.read_head(LIMIT).await.unwrap();
        let id = head.header("x-exchange-id").unwrap().to_owned();
        Self { status: head.status().unwrap(), id, side: Side::H1(client) }
    }

    /// Reads until the body so far ends with `end`, and takes it. More must not follow by itself.
    pub(crate) async fn read_until(&mut self, end: &str) -> String {
        let body = match &mut self.side {
            Side::H1(client) => {
                let ends = |bytes: &[u8]| {
                    let chunks = dechunk(bytes).chunks;
                    let encoded =
                        |data: &Bytes| format!("{:x}\r\n\r\n", data.len()).len() + data.len();
                    let whole = chunks.iter().map(encoded).sum::<usize>() == bytes.len();
                    whole && chunks.concat().ends_with(end.as_bytes())
                };
                dechunk(&client.read_until(ends, LIMIT).await.map(|_| client.take()).unwrap()).body
            }
            Side::H2(_, body) => {
                let mut read = Vec::new();
                while !read.ends_with(end.as_bytes()) {
                    match body.next(LIMIT).await {
                        H2Next::Data(data) => read.extend_from_slice(&data),
                        other => panic!("{other:?} after {read:?}"),
                    }
                }
                read
            }
        };
        String::from_utf8(body).unwrap()
    }

    /// Reads to the end.
    pub(crate) async fn rest(&mut self) -> (String, End) {
        let (body, end) = match &mut self.side {
            Side::H1(client) => {
                match client.read_until(|bytes| dechunk(bytes).complete, LIMIT).await {
                    Ok(bytes) => (dechunk(&bytes).body, End::Clean),
                    Err(end) => {
                        assert_ne!(end.how, How::TimedOut);
                        (dechunk(&end.bytes).body, End::Cut)
                    }
                }
            }
            Side::H2(_, body) => match body.rest(LIMIT).await {
                (body, H2Next::End) => (body, End::Clean),
                (body, H2Next::Reset(Reason::INTERNAL_ERROR)) => (body, End::Cut),
                (_, other) => panic!("{other:?}"),
            },
        };
        (String::from_utf8(body).unwrap(), end)
    }

    /// Leaves: over HTTP/1 by closing the connection, over HTTP/2 by resetting the stream.
    pub(crate) async fn leave(self) {
        match self.side {
            Side::H1(client) => client.close().await,
            Side::H2(client, body) => {
                body.reset(Reason::CANCEL);
                // The connection must live until the reset is out.
                sleep(Duration::from_millis(50)).await;
                drop(client);
            }
        }
    }
}

/// The object of an error event, which is all there is.
pub(crate) fn error_of(last: &str) -> Value {
    let data = last.strip_prefix("event: error\ndata: ").and_then(|rest| rest.strip_suffix("\n\n"));
    serde_json::from_str(data.unwrap_or_else(|| panic!("{last}"))).unwrap()
}

/// Reads a whole answer of ours, which has a length.
pub(crate) async fn whole(client: &mut H1) -> (Head, Value) {
    let head = client.read_head(LIMIT).await.unwrap();
    let length = head.header("content-length").unwrap().parse().unwrap();
    let body = client.read_until(|bytes| bytes.len() >= length, LIMIT).await.unwrap();
    (head, serde_json::from_slice(&body).unwrap())
}

/// Checks what an ending, or a live stream, says.
pub(crate) fn says<const N: usize>(told: &Value, fields: [(&str, Value); N]) {
    for (field, expected) in fields {
        assert_eq!(told[field], expected, "{field} of {told:#}");
    }
}

impl Proxy {
    /// Aborts one exchange; tells the status and the result.
    pub(crate) async fn abort(&self, id: &str, query: &str) -> (u16, String) {
        let target = format!("/streams/{id}{query}");
        let (_, status, answer) = self.ask_admin("DELETE", &target, "").await;
        (status, answer["result"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits for a stream of which `ready` is true.
    pub(crate) async fn stream(&self, ready: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + LIMIT;
        loop {
            let streams = self.see("/streams").await;
            if let Some(stream) = streams.as_array().unwrap().iter().find(|stream| ready(stream)) {
                return stream.clone();
            }
            assert!(Instant::now() < deadline, "no such stream: {streams}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until so many exchanges have ended, and gives their endings, newest first.
    pub(crate) async fn endings(&self, count: usize) -> Vec<Value> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let endings = self.see("/endings?limit=10000").await.as_array().unwrap().clone();
            if endings.len() >= count {
                assert_eq!(endings.len(), count, "{endings:#?}");
                return endings;
            }
            assert!(Instant::now() < deadline, "{count} endings are not there: {endings:#?}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits for the ending of the only exchange there ever was.
    pub(crate) async fn ending(&self) -> Value {
        self.endings(1).await.remove(0)
    }

    /// Waits for the ending of this exchange, of which there is one.
    pub(crate) async fn ending_of(&self, id: &str) -> Value {
        let deadline = Instant::now() + LIMIT;
        loop {
            let endings = self.see("/endings?limit=10000").await;
            let mut own = endings.as_array().unwrap().iter().filter(|row| row["id"] == id);
            if let Some(ending) = own.next() {
                assert_eq!(own.next(), None, "two endings");
                return ending.clone();
            }
            assert!(Instant::now() < deadline, "{id} has no ending: {endings:#}");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A POST over HTTP/1.
pub(crate) fn h1_post(path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let headers: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: test\r\n{headers}content-length: {length}\r\n\r\n{body}")
}

/// A POST with a JSON body.
pub(crate) fn post(path: &str, body: &Value) -> String {
    let body = body.to_string();
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}

/// Asks the simulation for a streamed answer.
pub(crate) fn ask(path: &str, model: &str) -> String {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let body = json!({"model": model, "stream": true, "max_tokens": 9, "messages": messages});
    post(path, &body)
}

/// Asks the simulation of OpenAI for a streamed answer.
pub(crate) fn chat(model: &str) -> String {
    ask("/v1/chat/completions", model)
}

/// The last event that a client sees of an unclean end.
pub(crate) fn error_event(kind: &str, message: &str, code: &str) -> String {
    format!(
        "event: error\ndata: {{\"type\":\"error\",\"error\":{{\"type\":\"{kind}\",\"message\":\"{message}\",\"code\":\"{code}\"}}}}\n\n"
    )
}
