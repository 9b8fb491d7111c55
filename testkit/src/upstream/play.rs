use std::future::pending;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::Gate;

/// Lists what an [`Upstream`](super::Upstream) does on a connection once it has the request.
///
/// At the end of the steps it sends FIN; say [`stall`](Self::stall) to stay.
#[derive(Clone, Debug, Default)]
pub struct Play {
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    Send(Bytes),
    Flood(Bytes),
    Sleep(Duration),
    Wait(Gate),
    Stall,
    Reset,
    Fin,
}

impl Play {
    /// Begins an empty play: FIN without a word.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends these bytes as they are.
    pub fn send(self, bytes: impl Into<Bytes>) -> Self {
        self.step(Step::Send(bytes.into()))
    }

    /// Sends the head of an event stream: 200, text/event-stream, chunked.
    pub fn head_sse(self) -> Self {
        self.send(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
        )
    }

    /// Sends one chunk, encoded.
    ///
    /// # Panics
    /// When it is empty, for that would be the last chunk.
    pub fn chunk(self, bytes: impl AsRef<[u8]>) -> Self {
        self.send(encode(bytes.as_ref()))
    }

    /// Sends the last chunk: the body is complete.
    pub fn last_chunk(self) -> Self {
        self.send("0\r\n\r\n")
    }

    /// Waits this long.
    pub fn sleep(self, length: Duration) -> Self {
        self.step(Step::Sleep(length))
    }

    /// Waits until the gate is opened.
    pub fn wait(self, gate: &Gate) -> Self {
        self.step(Step::Wait(gate.clone()))
    }

    /// Sends nothing more and waits for the peer to leave.
    pub fn stall(self) -> Self {
        self.step(Step::Stall)
    }

    /// Sends this chunk, encoded, again and again until the peer leaves.
    ///
    /// # Panics
    /// When it is empty.
    pub fn flood(self, chunk: impl AsRef<[u8]>) -> Self {
        self.step(Step::Flood(encode(chunk.as_ref())))
    }

    /// Resets the connection. What the peer has not received by then is lost: sleep before if it matters.
    pub fn reset(self) -> Self {
        self.step(Step::Reset)
    }

    /// Sends FIN, and waits for the peer to leave.
    pub fn fin(self) -> Self {
        self.step(Step::Fin)
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Returns only when the connection shall be reset, or with the error of a write.
    pub(super) async fn perform(&self, peer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        for step in &self.steps {
            match step {
                Step::Send(bytes) => peer.write_all(bytes).await?,
                Step::Flood(chunk) => loop {
                    peer.write_all(chunk).await?;
                },
                Step::Sleep(length) => tokio::time::sleep(*length).await,
                Step::Wait(gate) => gate.opened().await,
                Step::Stall => pending().await,
                Step::Reset => return Ok(()),
                Step::Fin => break,
            }
        }
        peer.shutdown().await?;
        pending().await
    }
}

fn encode(chunk: &[u8]) -> Bytes {
    assert!(!chunk.is_empty(), "an empty chunk is the last one: say last_chunk");
    [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat().into()
}
