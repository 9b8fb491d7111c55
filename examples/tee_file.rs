//! Captures a download into a file while it streams, without ever making the client wait for the disk.
//!
//! `cargo run --example tee_file`. The sink hands the chunks to a task through a bounded channel. When the disk is too slow
//! for that the sink stops capturing and says so; it does not block, since it runs where the client is served.

use std::error::Error;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::{
    fs::File,
    io::AsyncWriteExt,
    sync::mpsc::{Receiver, Sender, channel},
};
use tokio_stream::iter;
use tower_lifeline::{
    exchange::Outcome,
    tee::{Sink, TeeBody},
};

enum Message {
    Chunk(Bytes),
    End(Outcome),
}

/// `None` once a chunk had to be left out: a file with a hole would be worse than one that ends early.
struct ToFile(Option<Sender<Message>>);

impl Sink for ToFile {
    fn data(&mut self, chunk: Bytes) {
        let full =
            self.0.as_ref().is_some_and(|file| file.try_send(Message::Chunk(chunk)).is_err());
        if full {
            eprintln!("the disk is too slow: the file ends here");
            self.0 = None;
        }
    }

    fn end(self, outcome: Outcome) {
        // If even this finds the channel full, the writer sees the channel close without an end.
        if let Some(file) = self.0 {
            let _ = file.try_send(Message::End(outcome));
        }
    }
}

/// Writes until the end, and returns it; `None` if the capture stopped before.
async fn write(
    mut file: File,
    mut messages: Receiver<Message>,
) -> std::io::Result<Option<Outcome>> {
    while let Some(message) = messages.recv().await {
        match message {
            Message::Chunk(chunk) => file.write_all(&chunk).await?,
            Message::End(outcome) => {
                file.flush().await?;
                return Ok(Some(outcome));
            }
        }
    }
    Ok(None)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::temp_dir().join(format!("tee_file-{}", std::process::id()));
    let (sender, receiver) = channel(64);
    let writer = tokio::spawn(write(File::create(&path).await?, receiver));

    // What a client would download: as a layer this is `TeeLayer::new(|request| ToFile(...))`.
    let chunks = (0..32).map(|n| Ok::<_, std::io::Error>(Frame::data(Bytes::from(vec![n; 4096]))));
    let body = TeeBody::new(StreamBody::new(iter(chunks)), ToFile(Some(sender)));
    let received = body.collect().await?.to_bytes();

    let outcome = writer.await??;
    let written = tokio::fs::read(&path).await?;
    tokio::fs::remove_file(&path).await?;
    println!("{} bytes received, {} written, ended {outcome:?}", received.len(), written.len());
    assert_eq!(received, written);
    Ok(())
}
