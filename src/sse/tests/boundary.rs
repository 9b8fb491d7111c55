//! Where something may be put in between, byte by byte.

use super::{
    super::Boundary,
    reference::{MARK, class},
    vectors::{Vector, offsets, safe_offsets, seen_by_client, table, vectors},
};

/// What may come next that would make an insertion before it a mistake.
const FUTURES: &[&[u8]] = &[
    b"",
    b"\n",
    b"\r",
    b"\n\r",
    b"\r\n\r\n",
    b"data: z\n\n",
    b"\ndata: z\n\n",
    b":\n\n",
    b" z\n\n",
    b"id: 9\n\ndata: z\n\n",
    b"\xbf\xbfdata: z\n\n",
    b"\xef\xbb\xbfdata: z\n\ndata: y\n\n",
];

#[test]
fn nothing_is_ever_allowed_where_the_injection_table_calls_it_unsafe() {
    let table = table();
    for Vector { id, input, .. } in vectors() {
        for at in offsets(&input) {
            let class = class(&input[..at]);
            if class == "stream_start" || !fed(&input[..at]).may_insert() {
                continue; // The start is allowed only because a mark is then taken out: see `aligned`.
            }
            let row = table.iter().find(|row| row.class == class).unwrap();
            assert!(row.kinds.iter().all(|kind| kind.safe), "{id} at {at}: {class}");
        }
    }
}

#[test]
fn whatever_is_put_where_it_is_allowed_changes_nothing_whatever_follows() {
    let kinds: Vec<_> = table().remove(0).kinds.into_iter().map(|kind| kind.bytes).collect();
    for Vector { id, input, .. } in vectors() {
        for at in offsets(&input) {
            if at == 0 || !fed(&input[..at]).may_insert() {
                continue;
            }
            for future in FUTURES.iter().chain([&&input[at..]]) {
                for bytes in &kinds {
                    let (plain, with) = seen_by_client(&input[..at], bytes, future);
                    assert_eq!(with, plain, "{id} at {at}, then {}", future.escape_ascii());
                }
            }
        }
    }
}

#[test]
fn something_may_stand_at_every_event_boundary() {
    for Vector { id, input, .. } in vectors() {
        for at in offsets(&input) {
            if ["stream_start", "event_boundary"].contains(&class(&input[..at])) {
                assert!(fed(&input[..at]).may_insert(), "{id} at {at}");
            }
        }
    }
}

#[test]
fn the_offset_behind_the_last_event_is_the_last_safe_one() {
    for Vector { id, input, .. } in vectors() {
        for at in offsets(&input) {
            let safe = safe_offsets(&input[..at]);
            let last = safe.into_iter().rfind(|safe| *safe > 0 && input[..*safe] != *MARK);
            assert_eq!(Boundary::default().feed(&input[..at]), last, "{id} to {at}");
        }
    }
}

#[test]
fn how_the_bytes_were_split_makes_no_difference() {
    for Vector { id, input, .. } in vectors() {
        let whole = fed(&input);
        for at in offsets(&input) {
            let mut split = fed(&input[..at]);
            split.feed(&input[at..]);
            assert_eq!(format!("{split:?}"), format!("{whole:?}"), "{id} split at {at}");
        }
        let mut bytewise = Boundary::default();
        for byte in input.chunks(1) {
            bytewise.feed(byte);
        }
        assert_eq!(format!("{bytewise:?}"), format!("{whole:?}"), "{id} byte by byte");
    }
}

#[test]
fn behind_a_cr_nothing_stands_until_the_stream_has_shown_that_it_ends_lines_with_cr_alone() {
    assert!(!fed(b"data: a\r\n\r").may_insert()); // A LF may follow, and parsers that split at LF LF would miss it.
    assert!(fed(b"data: a\r\n\r\n").may_insert());
    assert!(fed(b"data: a\r\r").may_insert()); // The first CR had no LF, so the second will have none.
    assert!(!fed(b"data: a\r\rdata: b\r").may_insert());
    assert!(!fed(b": hi\r").may_insert());
    assert!(fed(b"data: a\r\r: hi\r").may_insert());
}

#[test]
fn two_bytes_of_a_mark_begin_a_field_name() {
    assert!(!fed(b"\xef\xbb\n").may_insert());
    assert!(fed(b"\xef\xbb\n\n").may_insert());
    assert!(!fed(b"\xef\xbb:\n").may_insert());
    assert!(!fed(b"\xef\xbb\xbf\xef\xbb\xbf:\n").may_insert()); // Nor is a second mark one.
    assert!(fed(b"\xef\xbb\xbf:\n").may_insert());
}

fn fed(bytes: &[u8]) -> Boundary {
    let mut boundary = Boundary::default();
    boundary.feed(bytes);
    boundary
}
