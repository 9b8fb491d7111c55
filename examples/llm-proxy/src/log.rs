//! The log: lines on stderr, written by a thread of its own, so that nobody ever waits for whoever reads them.
//!
//! What the guard of `tracing_appender::non_blocking` does at the end is why it is not used: while the queue is full it
//! prints to stdout with `println!`, which waits for a reader too, and panics where there is none.

use std::{
    fmt::{self, Write as _},
    io::{self, IsTerminal, Write},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::{
    field::MakeExt,
    fmt::{MakeWriter, format::debug_fn},
};

#[cfg(test)]
mod tests;

/// So many lines wait to be read; beyond that they are dropped, and counted.
const QUEUE: usize = 4096;
/// A longer line is cut.
const LONGEST: usize = 8 * 1024;
/// For the rest of the lines when the process ends.
const FLUSH: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum Entry {
    Line(Vec<u8>),
    /// All lines before it are written when the sender is dropped.
    Flush(SyncSender<()>),
}

/// Where lines are handed in. Cheap to clone; clones are the same log.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    entries: SyncSender<Entry>,
    dropped: Counter,
}

impl Log {
    /// Takes all events of this process from now on, and what panics say.
    pub(crate) fn start() -> io::Result<Self> {
        let log = Self::to(io::stderr())?;
        let fields = debug_fn(|writer, field, value| match field.name() {
            // Of those who log through the crate `log`; the line says it already.
            name if name.starts_with("log.") => Ok(()),
            "message" => write!(Escaped(writer), "{value:?}"),
            name => write!(Escaped(writer), "{name}={value:?}"),
        });
        tracing_subscriber::fmt()
            .with_ansi(io::stderr().is_terminal())
            .fmt_fields(fields.delimited(" "))
            .with_writer(log.clone())
            .init();
        std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
        Ok(log)
    }

    fn to(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, entries) = sync_channel(QUEUE);
        let log = Self { entries: sender, dropped: Counter::default() };
        let dropped = log.dropped.clone();
        thread::Builder::new().name("log".to_owned()).spawn(|| write(entries, out, dropped))?;
        Ok(log)
    }

    /// How many lines were dropped so far.
    pub(crate) fn dropped(&self) -> &Counter {
        &self.dropped
    }

    /// Hands in a line as it is.
    pub(crate) fn say(&self, line: &str) {
        self.add(format!("{line}\n").into_bytes());
    }

    /// Waits until what was handed in is written, but not for long.
    pub(crate) fn flush(&self) {
        let (written, all_written) = sync_channel(0);
        // A queue that is full is not read.
        if self.entries.try_send(Entry::Flush(written)).is_ok() {
            let _ = all_written.recv_timeout(FLUSH);
        }
    }

    fn add(&self, line: Vec<u8>) {
        if self.entries.try_send(Entry::Line(line)).is_err() {
            self.dropped.inc();
        }
    }
}

/// Writes one line after the other, however long that takes. One that can not be written is dropped as well.
#[allow(clippy::needless_pass_by_value, reason = "it is a thread's own")]
fn write(entries: Receiver<Entry>, mut out: impl Write, dropped: Counter) {
    let mut said = 0;
    for entry in entries {
        let line = match entry {
            Entry::Line(line) => line,
            Entry::Flush(written) => {
                drop(written);
                continue;
            }
        };
        if out.write_all(&line).is_err() {
            dropped.inc();
            continue;
        }
        let lost = dropped.get() - said;
        if lost > 0
            && writeln!(out, "{lost} lines of this log were dropped: it was not read").is_ok()
        {
            said += lost;
        }
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

/// Takes whole lines.
impl Write for &Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut cut = line.get(..LONGEST).unwrap_or(line).to_vec();
        if cut.len() < line.len() {
            cut.extend_from_slice("…\n".as_bytes());
        }
        self.add(cut);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a text that others chose in such a way that it stays in its line and looks like what it is.
#[derive(Debug)]
struct Escaped<W>(W);

impl<W: fmt::Write> fmt::Write for Escaped<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if deceives(c) {
                write!(self.0, "{}", c.escape_unicode())?;
            } else {
                self.0.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// Control characters (C0, DEL, C1), other ends of lines, what turns the direction of writing around, and what can not be seen.
fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
