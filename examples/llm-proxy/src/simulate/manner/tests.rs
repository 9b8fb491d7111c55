use std::time::Duration;

use super::{Ending, Manner};

fn manner(model: &str) -> Manner {
    Manner::of(model).unwrap()
}

#[test]
fn a_plain_name_works_with_the_defaults() {
    for model in ["gpt-4o", "claude-sonnet-4-5-20250929", "llama3.2:1b", "", "-"] {
        assert_eq!(manner(model), Manner::default(), "{model}");
    }
}

#[test]
fn every_setting_is_read() {
    let manner = manner("sim-words=7-gap=20ms-first=2s-head=1s-pause=3:5s-status=529-stall=5");
    assert_eq!(manner.gap, Duration::from_millis(20));
    assert_eq!(manner.first, Duration::from_secs(2));
    assert_eq!(manner.head, Duration::from_secs(1));
    assert_eq!(manner.pause, Some((3, Duration::from_secs(5))));
    assert_eq!(manner.status.unwrap(), 529);
    assert_eq!((manner.words, manner.ending), (5, Ending::Stall));
}

#[test]
fn an_ending_comes_after_its_words_or_after_all_of_them() {
    let told = |model| (manner(model).words, manner(model).ending);
    assert_eq!(told("fail=7"), (7, Ending::Fail));
    assert_eq!(told("error=0"), (0, Ending::Error));
    assert_eq!(told("stall=9-words=3"), (3, Ending::Stall));
}

#[test]
fn a_bad_setting_is_refused_by_name() {
    for part in [
        "words=many",
        "words=100001",
        "words=",
        "gap=20",
        "gap=2h",
        "first=soon",
        "pause=5s",
        "pause=3:",
        "status=200",
        "status=600",
        "speed=9",
        "=1",
    ] {
        let refused = Manner::of(&format!("sim-{part}-x")).unwrap_err();
        assert!(refused.starts_with(part), "{refused}");
    }
    let refused = Manner::of("stall=1-fail=2").unwrap_err();
    assert!(refused.starts_with("fail=2"), "{refused}");
}

#[test]
fn the_whole_time_is_the_sum_of_all_silences() {
    let manner = manner("head=1s-first=2s-words=4-gap=10ms-pause=2:3s");
    assert_eq!(manner.total(), Duration::from_millis(6030));
    assert_eq!(manner.silence(0), Duration::ZERO);
    assert_eq!(manner.silence(1), Duration::from_millis(10));
    assert_eq!(manner.silence(2), Duration::from_millis(3010));
}
