//! The standard's rules (protocol.md 1a) read a second time, on the whole stream and with no thought of speed.

pub(crate) const MARK: &[u8] = "\u{feff}".as_bytes();

/// What a client knows at the end of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) events: Vec<Dispatched>,
    pub(crate) last_event_id: String,
    pub(crate) retry: Option<u64>,
    pub(crate) comments: usize,
    pub(crate) discarded: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dispatched {
    pub(crate) kind: String,
    pub(crate) data: String,
    pub(crate) last_event_id: String,
}

#[derive(Default)]
struct Block {
    kind: String,
    data: String,
    id: Option<String>,
}

pub(crate) fn parse(stream: &[u8]) -> Parsed {
    let text = decode(stream);
    let (lines, rest) = lines(&text);
    let (mut parsed, mut block) = (Parsed::default(), Block::default());
    let mut id = String::new();
    for line in lines {
        if line.is_empty() {
            parsed.last_event_id.clone_from(&id);
            let Block { kind, data, .. } = std::mem::take(&mut block);
            if let Some(data) = data.strip_suffix('\n') {
                parsed.events.push(Dispatched {
                    kind: if kind.is_empty() { "message".into() } else { kind },
                    data: data.into(),
                    last_event_id: id.clone(),
                });
            }
        } else if line.starts_with(':') {
            parsed.comments += 1;
        } else {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "event" => block.kind = value.into(),
                "data" => block.data.extend([value, "\n"]),
                "id" if !value.contains('\0') => {
                    id = value.into();
                    block.id = Some(id.clone());
                }
                "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                    parsed.retry = value.parse().ok().or(parsed.retry);
                }
                _ => {}
            }
        }
    }
    let pending = !block.kind.is_empty() || !block.data.is_empty() || block.id.is_some();
    parsed.discarded = pending || !rest.is_empty();
    parsed
}

/// The position class at the end of `prefix`, by the names of the injection table.
///
/// A line that is a comment begins no block here: nothing depends on what follows it. The table's own words count it
/// in, but its counterexamples all hold a field; `boundary` tries both against hostile continuations.
pub(crate) fn class(prefix: &[u8]) -> &'static str {
    let Some(last) = prefix.last() else { return "stream_start" };
    if prefix == MARK {
        return "event_boundary";
    }
    let text = decode(prefix);
    let (lines, _) = lines(&text);
    let mut block = lines.iter().rev().take_while(|line| !line.is_empty());
    let in_block = block.any(|line| !line.starts_with(':'));
    match (last, in_block) {
        (b'\n', false) => "event_boundary",
        (b'\n', true) => "line_start_in_block",
        (b'\r', false) => "after_cr_at_boundary",
        (b'\r', true) => "after_cr_in_block",
        _ => "mid_line",
    }
}

fn decode(stream: &[u8]) -> String {
    String::from_utf8_lossy(stream.strip_prefix(MARK).unwrap_or(stream)).into_owned()
}

/// The lines that have an end, and what follows the last of them.
fn lines(mut text: &str) -> (Vec<&str>, &str) {
    let mut lines = Vec::new();
    while let Some(end) = text.find(['\r', '\n']) {
        let (line, rest) = text.split_at(end);
        lines.push(line);
        text = rest.strip_prefix("\r\n").unwrap_or(&rest[1..]);
    }
    (lines, text)
}
