//! What it costs to keep the frames of a connection, cloned or copied: nanoseconds for a frame and bytes of memory for each byte
//! kept, side by side, for frames of many sizes.
//!
//! `cargo bench --bench recording`. The reader is as hyper's for HTTP/1: a buffer with room for 8 KiB, or for what came last,
//! from which each frame is split off. It is written again when nobody has a slice of it, and is replaced by another one else.
//! What is kept is dropped after 4 MiB, outside of the time that is taken.

use std::{hint::black_box, time::Duration};

use allocation_counter::measure;
use bytes::{Bytes, BytesMut};
use tokio::time::Instant;
use tower_lifeline::tee::{Limit, Recording, RecordingSink, Sink};

const KEPT: usize = 4 * 1024 * 1024;
const ROUNDS: usize = 21;

/// Reads frames as hyper does.
struct Reader {
    buffer: BytesMut,
    wire: Vec<u8>,
}

impl Reader {
    fn new(size: usize) -> Self {
        Self { buffer: BytesMut::new(), wire: vec![b'x'; size] }
    }

    fn next(&mut self) -> Bytes {
        let room = self.wire.len().next_power_of_two().max(8192);
        if self.buffer.capacity() - self.buffer.len() < room {
            self.buffer.reserve(room);
        }
        self.buffer.extend_from_slice(&self.wire);
        self.buffer.split_to(self.wire.len()).freeze()
    }
}

trait Keeps {
    fn keep(&mut self, frame: &Bytes);
}

struct Nothing;
struct Cloned(Vec<Bytes>);
struct Copied(RecordingSink);

impl Keeps for Nothing {
    fn keep(&mut self, frame: &Bytes) {
        black_box(frame);
    }
}

impl Keeps for Cloned {
    fn keep(&mut self, frame: &Bytes) {
        self.0.push(frame.clone());
    }
}

impl Keeps for Copied {
    fn keep(&mut self, frame: &Bytes) {
        // As a tee hands it over.
        self.0.data(frame.clone());
    }
}

type Make = fn() -> Box<dyn Keeps>;
const KEEPERS: [Make; 3] = [
    || Box::new(Nothing),
    || Box::new(Cloned(Vec::new())),
    || Box::new(Copied(Recording::new(Limit::first(usize::MAX)).sink())),
];

fn keep(size: usize, make: Make) -> (Duration, Box<dyn Keeps>) {
    let (mut reader, mut keeper) = (Reader::new(size), make());
    let start = Instant::now();
    for _ in 0..KEPT.div_ceil(size) {
        keeper.keep(&reader.next());
    }
    (start.elapsed(), keeper)
}

fn main() {
    println!("4 MiB in frames; median of {ROUNDS} rounds");
    println!("{:>8}{:>36}{:>24}", "", "ns/frame", "bytes of memory a byte");
    println!(
        "{:>8}{:>12}{:>12}{:>12}{:>12}{:>12}",
        "frame", "read only", "cloned", "copied", "cloned", "copied"
    );
    for size in [64, 256, 1024, 4096, 16 * 1024, 64 * 1024, 256 * 1024] {
        let mut rounds = KEEPERS.map(|_| Vec::new());
        for _ in 0..ROUNDS {
            for (make, times) in KEEPERS.iter().zip(&mut rounds) {
                times.push(keep(size, *make).0);
            }
        }
        let frames = KEPT.div_ceil(size) as f64;
        let nanos = rounds.map(|mut times| {
            times.sort_unstable();
            times[ROUNDS / 2].as_nanos() as f64 / frames
        });
        let memory = KEEPERS.map(|make| {
            let mut kept = None;
            let counted = measure(|| kept = Some(keep(size, make).1));
            drop(kept);
            counted.bytes_current as f64 / KEPT as f64
        });
        let ([read, cloned, copied], [_, pinned, held]) = (nanos, memory);
        println!("{size:>8}{read:>12.1}{cloned:>12.1}{copied:>12.1}{pinned:>12.2}{held:>12.2}");
    }
}
