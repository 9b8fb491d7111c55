use std::time::Duration;

use super::{duration, size};

#[test]
fn durations_are_read_in_every_unit() {
    assert_eq!(duration("0s"), Ok(Duration::ZERO));
    assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
    assert_eq!(duration("15s"), Ok(Duration::from_secs(15)));
    assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
    assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
}

#[test]
fn anything_else_is_not_a_duration() {
    let bad = ["", "s", "15", "15 s", "-1s", "+1s", "1.5s", "15S", "1d", "15ss", "off", "１s"];
    for text in bad {
        assert!(duration(text).is_err(), "{text}");
    }
}

#[test]
fn a_duration_no_clock_can_hold_is_refused() {
    assert!(duration("8760h").is_ok());
    assert!(duration("8761h").is_err());
    assert!(duration("18446744073709551615ms").is_err());
    assert!(duration("18446744073709551615h").is_err());
    assert!(duration("99999999999999999999999ms").is_err());
}

#[test]
fn sizes_are_read_in_every_unit() {
    assert_eq!(size("0"), Ok(0));
    assert_eq!(size("512"), Ok(512));
    assert_eq!(size("512B"), Ok(512));
    assert_eq!(size("64KiB"), Ok(64 * 1024));
    assert_eq!(size("1MiB"), Ok(1024 * 1024));
    assert_eq!(size("2GiB"), Ok(2 * 1024 * 1024 * 1024));
}

#[test]
fn anything_else_is_not_a_size() {
    for text in ["", "B", "1KB", "1kib", "1 MiB", "-1B", "1.5MiB", "lots"] {
        assert!(size(text).is_err(), "{text}");
    }
    assert!(size("18446744073709551615GiB").is_err());
}
