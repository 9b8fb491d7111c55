//! Any text, whole and cut, against `serde_json`.

use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Map, Value, json};

use super::{Reader, Token};

/// All tokens of a text in these pieces, with what each string says in one; `None` if it is not whole.
fn tokens(pieces: &[&[u8]]) -> (Vec<(usize, String)>, bool) {
    let mut reader = Reader::default();
    let (mut tokens, mut string) = (vec![], vec![]);
    for piece in pieces {
        let mut at = 0;
        while let Some((depth, token)) = reader.next(piece, &mut at) {
            let said = match token {
                Token::Piece(piece) => {
                    string.extend_from_slice(piece);
                    continue;
                }
                Token::String => {
                    format!("{:?}", String::from_utf8_lossy(&std::mem::take(&mut string)))
                }
                Token::Name(name) => format!("{}:", String::from_utf8_lossy(name)),
                token => format!("{token:?}"),
            };
            tokens.push((depth, said));
        }
        assert_eq!(at, piece.len());
    }
    (tokens, reader.is_whole())
}

fn bytewise(text: &[u8]) -> Vec<&[u8]> {
    text.chunks(1).collect()
}

/// What `serde_json` reads, as those tokens.
fn expected(value: &Value, depth: usize, tokens: &mut Vec<(usize, String)>) {
    match value {
        Value::Null => tokens.push((depth, "Null".into())),
        Value::Bool(value) => tokens.push((depth, format!("Bool({value})"))),
        Value::Number(number) => {
            let whole = |n: &f64| n.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(n);
            let number =
                number.as_u64().or_else(|| number.as_f64().filter(whole).map(|n| n as u64));
            tokens.push((depth, format!("Number({number:?})")));
        }
        Value::String(text) => tokens.push((depth, format!("{text:?}"))),
        Value::Array(values) => {
            tokens.push((depth + 1, "Array".into()));
            values.iter().for_each(|value| expected(value, depth + 1, tokens));
            tokens.push((depth, "End".into()));
        }
        Value::Object(members) => {
            tokens.push((depth + 1, "Object".into()));
            for (name, value) in members {
                tokens.push((depth + 1, format!("{name}:")));
                expected(value, depth + 1, tokens);
            }
            tokens.push((depth, "End".into()));
        }
    }
}

fn value() -> impl Strategy<Value = Value> {
    let text =
        select(&["", "a", "usage", "é", "\u{1f980}", "\"", "\\", "\n\u{1}", "{", "]", "/"][..]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        select(&[0.5, 69.0, 1e300, -1e-7][..]).prop_map(Value::from),
        vec(text.clone(), 0..4).prop_map(|texts| Value::from(texts.concat())),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        let name = vec(text.clone(), 0..3).prop_map(|texts| texts.concat());
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec((name, inner), 0..5).prop_map(|members| Value::Object(Map::from_iter(members))),
        ]
    })
}

/// Writes every character of every string as an escape.
fn escaped(value: &Value) -> String {
    let mut written = String::new();
    let mut inside = false;
    let text = value.to_string();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => inside = !inside,
            '\\' => {
                written.push('\\');
                let letter = characters.next();
                written.extend(letter);
                written.extend(characters.by_ref().take(if letter == Some('u') { 4 } else { 0 }));
                continue;
            }
            character if inside => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    written.push_str(&format!("\\u{unit:04X}"));
                }
                continue;
            }
            _ => {}
        }
        written.push(character);
    }
    written
}

const WORDS: &[&str] = &[
    "{", "}", "[", "]", ",", ":", "\"", "\"a\"", "\"a\":", "\\", "\\u00", "\\ud83e", "\\udd80",
    "0", "1", "-", ".", "e", "E+", "true", "null", "fals", " ", "\n", "\u{1}", "é",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_valid_is_read_as_serde_json_reads_it_however_it_is_written_and_cut(value in value()) {
        let value = json!([value]);
        let mut said = vec![];
        expected(&value, 0, &mut said);
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        for text in [value.to_string(), pretty, escaped(&value)] {
            prop_assert_eq!(&tokens(&[text.as_bytes()]), &(said.clone(), true), "{}", &text);
            prop_assert_eq!(&tokens(&bytewise(text.as_bytes())), &(said.clone(), true), "{}", &text);
        }
    }

    #[test]
    fn what_is_broken_is_known_for_it_and_says_the_same_however_it_is_cut(
        words in vec(select(WORDS), 0..20), at in 0_usize..40,
    ) {
        let text = format!("[{}", words.concat());
        let whole = tokens(&[text.as_bytes()]);
        let (left, right) = text.as_bytes().split_at(at.min(text.len()));
        prop_assert_eq!(&tokens(&[left, right]), &whole, "{}", &text);
        prop_assert_eq!(&tokens(&bytewise(text.as_bytes())), &whole, "{}", &text);
        match serde_json::from_str::<Value>(&text) {
            Ok(_) => prop_assert!(whole.1, "{}", &text),
            // Where it is not strict, see the module.
            Err(_) if text.contains(['\u{1}', '\n']) || text.contains("\\ud") => {}
            Err(error) => prop_assert!(!whole.1 || error.to_string().contains("out of range"), "{}", &text),
        }
    }
}

#[test]
fn half_a_surrogate_pair_is_read_as_a_replacement() {
    for (text, said) in [
        (r#"["\ud83e"]"#, "\u{fffd}"),
        (r#"["\ud83ex"]"#, "\u{fffd}x"),
        (r#"["\udd80\ud83e\n"]"#, "\u{fffd}\u{fffd}\n"),
        (r#"["\ud83e\ud83e\udd80"]"#, "\u{fffd}\u{1f980}"),
    ] {
        for (tokens, whole) in [tokens(&[text.as_bytes()]), tokens(&bytewise(text.as_bytes()))] {
            assert_eq!((&tokens[1].1, whole), (&format!("{said:?}"), true), "{text}");
        }
    }
}

#[test]
fn what_is_very_deep_is_read_over_and_what_follows_is_read() {
    let deep = "[".repeat(100_000) + r#""]\"}", 1 "# + &"]".repeat(100_000);
    let text = format!("{{\"a\":{deep},\"b\":7}}");
    for (tokens, whole) in [tokens(&[text.as_bytes()]), tokens(&bytewise(text.as_bytes()))] {
        assert!(whole);
        assert_eq!(tokens.len(), 1 + 1 + 127 + 127 + 3);
        let last: Vec<_> = tokens[tokens.len() - 3..].iter().map(|(_, said)| &said[..]).collect();
        assert_eq!(last, ["b:", "Number(Some(7))", "End"]);
    }
}

#[test]
fn a_long_name_is_cut_off_and_a_long_number_is_none() {
    let long = "x".repeat(1000);
    let text = format!("{{\"{long}\":{},\"b\":{}.0}}", "7".repeat(1000), "1".repeat(20));
    let (tokens, whole) = tokens(&[text.as_bytes()]);
    let said: Vec<_> = tokens.iter().map(|(_, said)| &said[..]).collect();
    let name = format!("{}:", &long[..64]);
    assert_eq!(said, ["Object", &name, "Number(None)", "b:", "Number(None)", "End"]);
    assert!(whole);
}

#[test]
fn another_text_is_read_with_the_same_reader() {
    let mut reader = Reader::default();
    for text in [r#"{"a":"\ud8"#, "[}", "{\"b\": [[", "[1"] {
        let mut at = 0;
        while reader.next(text.as_bytes(), &mut at).is_some() {}
        assert!(!reader.is_whole());
        reader.clear();
    }
    let mut at = 0;
    assert_eq!(reader.next(b"[] ", &mut at), Some((1, Token::Array)));
    assert_eq!(reader.next(b"[] ", &mut at), Some((0, Token::End)));
    assert_eq!(reader.next(b"[] ", &mut at), None);
    assert!(reader.is_whole());
}

#[test]
fn what_python_writes_for_what_is_no_number_is_a_number_that_is_none() {
    let text = "{\"a\":NaN,\"b\":[Infinity,-Infinity],\"c\":7}";
    for (tokens, whole) in [tokens(&[text.as_bytes()]), tokens(&bytewise(text.as_bytes()))] {
        let numbers: Vec<_> = tokens
            .iter()
            .map(|(_, said)| &said[..])
            .filter(|said| said.starts_with("Num"))
            .collect();
        let none = "Number(None)";
        assert_eq!((numbers, whole), (vec![none, none, none, "Number(Some(7))"], true));
    }
    for text in ["[Nan]", "[+Infinity]", "[Infinite]", "[-NaN]", "[-I]", "[N]"] {
        assert!(!tokens(&[text.as_bytes()]).1, "{text}");
    }
}

#[test]
fn a_byte_order_mark_may_stand_before_a_text_and_nowhere_else() {
    let mark = "\u{feff}";
    for (text, read) in [
        (format!("{mark}[1]"), true),
        (format!("{mark} [1]"), true),
        (format!("{mark}{mark}[1]"), false),
        (format!("[{mark}1]"), false),
        (format!("[1]{mark}"), false),
        ("\u{fefe}[1]".to_owned(), false),
    ] {
        assert_eq!(tokens(&[text.as_bytes()]).1, read, "{text:?}");
        assert_eq!(tokens(&bytewise(text.as_bytes())).1, read, "{text:?}");
    }
}
