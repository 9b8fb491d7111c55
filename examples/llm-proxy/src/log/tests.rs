use std::{
    fmt::Write as _,
    io::{self, Read, Write},
    time::Duration,
};

use tokio::time::Instant;

use super::{Escaped, LONGEST, Log, QUEUE};

/// What is written of so many lines.
fn written(log: &Log, reader: &mut impl Read) -> String {
    log.say("the end");
    let mut read = Vec::new();
    while !read.ends_with(b"the end\n") {
        let mut byte = [0];
        reader.read_exact(&mut byte).unwrap();
        read.push(byte[0]);
    }
    String::from_utf8(read).unwrap()
}

#[test]
fn a_log_that_nobody_reads_blocks_nobody_and_what_was_dropped_is_counted_and_said() {
    let (mut reader, writer) = io::pipe().unwrap();
    let log = Log::to(writer).unwrap();
    let started = Instant::now();
    let line = format!("{}\n", "x".repeat(1000));
    for _ in 0..2 * QUEUE {
        (&log).write_all(line.as_bytes()).unwrap();
    }
    log.flush();
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    let dropped = log.dropped().get();
    assert!(dropped > QUEUE as u64 / 2 && dropped < 2 * QUEUE as u64, "{dropped}");

    // The queue has room again when the first lines are read.
    let mut some = vec![0; 100 * line.len()];
    reader.read_exact(&mut some).unwrap();
    let text = String::from_utf8(some).unwrap() + &written(&log, &mut reader);
    // Some may have been said before the last were dropped.
    let told = |line: &str| {
        line.strip_suffix(" lines of this log were dropped: it was not read")?.parse::<u64>().ok()
    };
    let dropped = log.dropped().get().max(dropped);
    assert_eq!(text.lines().filter_map(told).sum::<u64>(), dropped);
    let whole = text.lines().filter(|read| *read == line.trim_end()).count();
    assert_eq!(whole as u64 + dropped, 2 * QUEUE as u64);
}

#[test]
fn a_reader_that_is_gone_is_counted() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let log = Log::to(writer).unwrap();
    log.say("x");
    log.flush();
    assert_eq!(log.dropped().get(), 1);
}

#[test]
fn a_line_that_is_too_long_is_cut() {
    let (mut reader, writer) = io::pipe().unwrap();
    let log = Log::to(writer).unwrap();
    (&log).write_all(&[b'x'; 10 * LONGEST]).unwrap();
    let text = written(&log, &mut reader);
    assert_eq!(text, format!("{}…\nthe end\n", "x".repeat(LONGEST)));
}

#[test]
fn what_hides_or_ends_a_line_is_escaped() {
    let mut text = String::new();
    write!(
        Escaped(&mut text),
        "a b\u{1b}[2J\r\n\t\0\u{7f}\u{85}\u{9b}é\u{2028}\u{2029}\u{202e}\u{2066}\u{200b}…語"
    )
    .unwrap();
    assert_eq!(
        text,
        r"a b\u{1b}[2J\u{d}\u{a}\u{9}\u{0}\u{7f}\u{85}\u{9b}é\u{2028}\u{2029}\u{202e}\u{2066}\u{200b}…語"
    );
}
