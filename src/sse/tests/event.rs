//! Events as they are written, read back by the reference parser.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    super::{Boundary, Event},
    reference::{Dispatched, Parsed, parse},
};

#[test]
fn an_event_is_its_fields_in_the_order_in_which_they_were_set_then_its_data_and_a_blank_line() {
    let event = Event::data("{}").event("error").unwrap().id("7").unwrap();
    let event = event.retry(Duration::from_millis(1_500));
    assert_eq!(event.to_bytes(), "event: error\nid: 7\nretry: 1500\ndata: {}\n\n");
    assert_eq!(Event::data("x").to_bytes(), "data: x\n\n");
}

#[test]
fn every_line_of_the_data_becomes_a_data_line_whatever_ends_it() {
    let bytes = Event::data("a\nb\rc\r\nd\n\re").to_bytes();
    assert_eq!(bytes, "data: a\ndata: b\ndata: c\ndata: d\ndata: \ndata: e\n\n");
    assert_eq!(parse(&bytes).events[0].data, "a\nb\nc\nd\n\ne");
}

#[test]
fn data_can_not_begin_another_field_or_another_event() {
    for evil in ["a\rid: 1", "a\n\ndata: b", "a\r\revent: x", "a\r\n\r\nretry: 1", "\n\n", "a\n"] {
        let parsed = parse(&Event::data(evil).to_bytes());
        assert_eq!((parsed.events.len(), parsed.retry), (1, None), "{evil:?}");
        assert_eq!(parsed.events[0].kind, "message", "{evil:?}");
        assert_eq!(parsed.last_event_id, "", "{evil:?}");
    }
}

#[test]
fn empty_data_and_a_leading_space_arrive_as_they_are() {
    for data in ["", " ", "  two", " a\n b", "\u{feff}"] {
        assert_eq!(parse(&Event::data(data).to_bytes()).events[0].data, data);
    }
}

#[test]
fn a_line_end_or_nul_in_a_field_is_refused_and_the_error_names_the_field() {
    for bad in ["\n", "a\nb", "a\r", "\r\n", "a\0b"] {
        let error = Event::data("x").event(bad).unwrap_err();
        let text = "the `event` field of an event can not hold a line end or U+0000";
        assert_eq!(error.to_string(), text, "{bad:?}");
        let error = Event::data("x").id(bad).unwrap_err();
        let text = "the `id` field of an event can not hold a line end or U+0000";
        assert_eq!(error.to_string(), text, "{bad:?}");
    }
}

#[test]
fn retry_is_written_in_whole_milliseconds() {
    let wire = |after| Event::data("").retry(after).to_bytes();
    assert_eq!(wire(Duration::from_micros(2_999)), "retry: 2\ndata: \n\n");
    assert_eq!(parse(&wire(Duration::from_secs(3))).retry, Some(3_000));
    assert_eq!(parse(&wire(Duration::ZERO)).retry, Some(0));
}

proptest! {
    #[test]
    fn what_is_written_is_what_a_client_reads(
        data in any::<String>(), kind in "[^\n\r\0]+", id in "[^\n\r\0]*", retry in any::<u32>(),
    ) {
        let event = Event::data(&data).event(&kind).unwrap().id(&id).unwrap();
        let bytes = event.retry(Duration::from_millis(retry.into())).to_bytes();
        let data = data.replace("\r\n", "\n").replace('\r', "\n");
        let seen = Dispatched { kind, data, last_event_id: id.clone() };
        let expect = Parsed {
            events: vec![seen],
            last_event_id: id,
            retry: Some(retry.into()),
            comments: 0,
            discarded: false,
        };
        prop_assert_eq!(parse(&bytes), expect);
        prop_assert_eq!(Boundary::default().feed(&bytes), Some(bytes.len()));
    }
}
