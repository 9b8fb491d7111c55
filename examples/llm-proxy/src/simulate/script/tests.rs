use std::time::Duration;

use http_body_util::BodyExt;
use tokio::time::{Instant, timeout};

use super::{Script, Step};

fn send(text: &'static str) -> Step {
    Step::Send(text.into())
}

#[tokio::test(start_paused = true)]
async fn bytes_and_silences_follow_the_script() {
    let wait = |secs| Step::Wait(Duration::from_secs(secs));
    let steps = [wait(2), send("a"), send(""), wait(0), send("b"), wait(3)];
    let mut script = Script::new(steps.into_iter());
    let start = Instant::now();
    for (text, secs) in [("a", 2), ("b", 2)] {
        let frame = script.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), text);
        assert_eq!(start.elapsed().as_secs(), secs);
    }
    for _ in 0..2 {
        assert!(script.frame().await.is_none());
        assert_eq!(start.elapsed().as_secs(), 5);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stall_never_ends() {
    let mut script = Script::new([Step::Stall, send("late")].into_iter());
    let year = Duration::from_secs(365 * 24 * 3600);
    timeout(year, script.frame()).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_failure_leaves_time_to_write_what_came_before_it() {
    let mut script = Script::new([send("a"), Step::Fail, send("late")].into_iter());
    script.frame().await.unwrap().unwrap();
    let start = Instant::now();
    script.frame().await.unwrap().unwrap_err();
    assert!(start.elapsed() >= Duration::from_millis(10));
    assert!(script.frame().await.is_none());
}
