//! Statuses as gRPC clients read them, and messages cut at every byte.

use http::{HeaderMap, StatusCode};
use proptest::prelude::*;

use super::{Messages, trailers, trailers_only};

#[test]
fn a_status_is_a_code_and_a_message() {
    let trailers = trailers(14, "upstream is gone");
    assert_eq!(trailers["grpc-status"], "14");
    assert_eq!(trailers["grpc-message"], "upstream is gone");
    assert_eq!(trailers.len(), 2);
}

#[test]
fn a_response_that_is_nothing_but_a_status_has_it_in_its_head() {
    let response = trailers_only(8, "too much");
    assert_eq!(response.status(), StatusCode::OK); // gRPC tells errors in its own status.
    assert_eq!(response.headers()["content-type"], "application/grpc");
    assert_eq!(response.headers()["grpc-status"], "8");
    assert_eq!(response.headers()["grpc-message"], "too much");
    assert!(response.body().is_empty());
}

#[test]
fn only_what_the_grammar_demands_is_percent_encoded() {
    let ascii: String = (0x20..=0x7e_u8).filter(|byte| *byte != b'%').map(char::from).collect();
    assert_eq!(encoded(&ascii), ascii);
    assert_eq!(encoded("100% of a\nb\r\t\0\u{7f}"), "100%25 of a%0Ab%0D%09%00%7F");
    assert_eq!(encoded("h\u{e9} \u{20ac} \u{1f600}"), "h%C3%A9 %E2%82%AC %F0%9F%98%80");
    assert_eq!(encoded(""), "");
}

#[test]
fn a_message_ends_at_1_kib_and_never_in_the_middle_of_a_character() {
    assert_eq!(encoded(&"a".repeat(5_000)).len(), 1_022); // There is room for no more than two bytes.
    for start in 0..12 {
        for char in ["\n", "\u{e9}", "\u{20ac}", "\u{1f600}"] {
            let message = "a".repeat(start) + &char.repeat(2_000);
            let encoded = encoded(&message);
            assert!((1_012..=1_024).contains(&encoded.len()), "{}", encoded.len());
            // A client that can not decode the message takes the code for `unknown`.
            assert!(message.starts_with(&decoded(&encoded)), "{start} {char:?}");
        }
    }
}

proptest! {
    #[test]
    fn a_client_reads_the_message_that_was_meant(message in "(?s).{0,80}") {
        let message = message.as_str();
        prop_assert_eq!(decoded(&encoded(message)), message);
    }
}

#[test]
fn a_message_boundary_is_found_at_every_split() {
    let stream = [
        &[0, 0, 0, 0, 3, 1, 2, 3][..], // Three bytes,
        &[1, 0, 0, 0, 0],              // none,
        &[0, 0, 0, 1, 0],
        &[7; 256], // and a length that needs its second byte.
    ]
    .concat();
    let boundaries = [0, 8, 13, stream.len()];
    for at in 0..=stream.len() {
        let mut messages = Messages::default();
        messages.feed(&stream[..at]);
        assert_eq!(messages.at_boundary(), boundaries.contains(&at), "at {at}");
        messages.feed(&stream[at..]);
        assert!(messages.at_boundary(), "split at {at}");
    }
    let mut messages = Messages::default();
    for (at, byte) in stream.iter().enumerate() {
        messages.feed(&[*byte]);
        assert_eq!(messages.at_boundary(), boundaries.contains(&(at + 1)), "byte {at}");
    }
}

#[test]
fn the_length_of_a_message_is_big_endian_and_may_be_four_gib() {
    let mut messages = Messages::default();
    messages.feed(&[0, 0xff, 0xff, 0xff, 0xff]);
    let part = vec![0; 1 << 16];
    for _ in 0..(1 << 16) - 1 {
        messages.feed(&part);
    }
    messages.feed(&part[..(1 << 16) - 2]);
    assert!(!messages.at_boundary());
    messages.feed(&[0]);
    assert!(messages.at_boundary());
}

fn encoded(message: &str) -> String {
    let trailers: HeaderMap = trailers(1, message);
    trailers["grpc-message"].to_str().unwrap().to_owned()
}

/// Percent-decodes as clients do, strictly.
fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(code, 16).unwrap());
        bytes.extend(rest.bytes());
    }
    String::from_utf8(bytes).unwrap()
}
