use super::reason;

#[test]
fn a_reason_is_one_of_our_own_names_or_other() {
    for limit in ["head", "first_frame", "idle", "total", "unread"] {
        assert_eq!(reason("timed_out", Some(limit)), limit);
    }
    for (outcome, text, name) in [
        ("aborted", "aborted", "aborted"),
        ("aborted", "shutdown", "shutdown"),
        ("aborted", "too slow", "other"),
        ("aborted", "idle", "other"),
        ("aborted", "upstream_status_500", "other"),
        ("failed", "upstream_error_event", "upstream_error_event"),
        ("failed", "upstream_status_429", "upstream_status"),
        ("failed", "upstream_not_a_stream", "other"),
        ("panicked", "aborted", "other"),
    ] {
        assert_eq!(reason(outcome, Some(text)), name, "{outcome} {text}");
    }
    assert_eq!(reason("completed", None), "none");
}
