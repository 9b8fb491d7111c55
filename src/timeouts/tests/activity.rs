//! What counts as progress.

use http::Response;

use super::*;

/// Which of these chunks are progress.
fn progress(activity: Activity, chunks: &[&'static str]) -> Vec<bool> {
    let mut activity = activity;
    chunks.iter().map(|chunk| activity.sees(&Bytes::from(*chunk))).collect()
}

#[test]
fn comments_pings_blank_lines_and_fields_without_data_are_no_progress() {
    let idle = [
        ": keep-alive\n\n",
        ":\n",
        "\n\r\n\r",
        "event: ping\ndata: {\"type\":\"ping\"}\n\n",
        "event:ping\r\ndata:\r\n\r\n",
        "id: 7\nretry: 100\nevent: x\n\n",
        "",
        "dat: a\ndatabase: b\nxdata: c\n",
    ];
    for chunk in idle {
        assert_eq!(progress(Activity::events(), &[chunk]), [false], "{chunk:?}");
    }
}

#[test]
fn any_byte_of_data_is_progress_before_its_event_is_complete_and_wherever_it_is_split() {
    let alive = ["data: x", "data:", "id: 1\ndata: x\n\n", ": c\ndata: x", "event: pings\ndata: 1"];
    for text in alive {
        assert_eq!(progress(Activity::events(), &[text]), [true], "{text:?}");
        for at in 1..text.len() {
            let halves = progress(Activity::events(), &[&text[..at], &text[at..]]);
            assert!(halves.contains(&true), "{text:?} at {at}");
        }
    }
    let long = progress(Activity::events(), &["data: half of ", "an event ", "of many\n", "\n"]);
    assert_eq!(long, [true, true, true, false]);
}

#[test]
fn a_ping_is_known_wherever_it_is_split_and_says_nothing_of_the_event_that_follows() {
    let ping = "event: ping\ndata: {}\n\n";
    for at in 1..ping.len() {
        let seen = progress(Activity::events(), &[&ping[..at], &ping[at..], "data: x\n\n"]);
        assert_eq!(seen, [false, false, true], "at {at}");
    }
}

#[test]
fn the_default_reads_events_only_where_the_head_says_that_there_are_some() {
    let of = |media: &str, coding: Option<&str>| {
        let mut response = Response::builder().header("content-type", media);
        if let Some(coding) = coding {
            response = response.header("content-encoding", coding);
        }
        Activity::by_media(&response.body(()).unwrap().into_parts().0)
    };
    assert_eq!(progress(of("text/event-stream", None), &[": c\n"]), [false]);
    assert_eq!(progress(of("text/event-stream", Some("br")), &[": c\n"]), [true]);
    assert_eq!(progress(of("application/json", None), &[" ", ""]), [true, false]);
}

#[test]
fn a_function_of_ones_own_decides_frame_by_frame() {
    let activity = Activity::when(|data| data.starts_with(b"+"));
    assert_eq!(progress(activity, &["+1", "-1", "+"]), [true, false, true]);
}
