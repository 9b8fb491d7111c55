//! Which bytes may go out, and where a line begins.

use proptest::prelude::*;

use super::Records;

/// Feeds byte by byte; tells after each whether what came so far may go out.
fn steps(text: &str) -> Vec<bool> {
    let mut records = Records::default();
    text.bytes().map(|byte| records.feed(&[byte]).is_some()).collect()
}

#[test]
fn a_record_is_complete_with_its_last_bracket() {
    for record in [
        "{}",
        "[]",
        "{\"a\":[{\"b\":1},{}]}",
        "[\"]}\"]",
        r#"{"a\"}":"\\"}"#,
        r#"["\\\"]"]"#,
        " \t{\"a\":\"\u{e4}\u{1f600}\"}",
    ] {
        let steps = steps(record);
        let first = record.find(['{', '[']).unwrap();
        assert!(steps[..first].iter().all(|out| *out), "{record}");
        assert!(steps[first..record.len() - 1].iter().all(|out| !out), "{record}");
        assert!(steps[record.len() - 1], "{record}");
    }
}

#[test]
fn nothing_waits_for_what_only_its_line_end_could_complete() {
    for line in ["12", "\"a", "true", "}", "data: a", "{} x"] {
        let begin = if line.starts_with('{') { 2 } else { 0 };
        assert!(steps(line)[begin..].iter().all(|out| *out), "{line}");
    }
}

#[test]
fn a_record_behind_another_one_on_its_line_is_waited_for_and_the_one_before_it_is_not() {
    for (text, out) in [("{}{", 2), ("\n{} [1][{", 7), ("{}{}", 4), ("{}{\n{", 4), ("{}{}{\"}", 4)]
    {
        let mut records = Records::default();
        assert_eq!(records.feed(text.as_bytes()), Some(out), "{text:?}");
        let line_end = text[..out].ends_with('\n');
        assert_eq!(records.is_unterminated(), !line_end, "{text:?}");
    }
}

#[test]
fn a_line_begins_behind_a_line_end_only() {
    for (text, at_start) in [
        ("", true),
        ("{}\n", true),
        ("{}\r\n ", true),
        ("{}", false),
        ("{}\n{", false),
        ("1", false),
    ] {
        let mut records = Records::default();
        records.feed(text.as_bytes());
        assert_eq!(records.at_line_start(), at_start, "{text:?}");
        assert_eq!(records.is_unterminated(), text == "{}", "{text:?}");
    }
}

proptest! {
    #[test]
    fn what_is_known_does_not_depend_on_the_pieces(
        text in r#"[\{\}\[\]"\\\n a1]{0,40}"#, cut in 0..40_usize,
    ) {
        let (one, two) = text.as_bytes().split_at(cut.min(text.len()));
        let (mut whole, mut pieces) = (Records::default(), Records::default());
        whole.feed(text.as_bytes());
        pieces.feed(one);
        pieces.feed(two);
        prop_assert_eq!(whole.line, pieces.line);
        prop_assert_eq!(whole.behind, pieces.behind);
    }
}
