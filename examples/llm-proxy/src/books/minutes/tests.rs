use std::time::Duration;

use tokio::time::advance;

use super::{Cost, MINUTES, Minute, Minutes};

fn cost(input: Option<u64>, output: Option<u64>) -> Cost {
    Cost {
        dialect: "openai_chat",
        model: None,
        input_tokens: input,
        output_tokens: output,
        cached_tokens: None,
        reasoning_tokens: None,
        certainty: "reported",
    }
}

const SECOND: Duration = Duration::from_secs(1);
const NOTHING: Minute = Minute { input: 0, output: 0 };

/// The minutes in which there was something, by how many minutes ago.
fn told(minutes: &mut Minutes) -> Vec<(usize, u64, u64)> {
    let last = minutes.last();
    let minutes = last.iter().rev().enumerate().filter(|(_, minute)| **minute != NOTHING);
    minutes.map(|(ago, minute)| (ago, minute.input, minute.output)).collect()
}

#[tokio::test(start_paused = true)]
async fn an_ending_counts_in_the_minute_in_which_it_ended() {
    let mut minutes = Minutes::default();
    minutes.count(&cost(Some(5), Some(1)));
    advance(59 * SECOND).await;
    minutes.count(&cost(Some(10), Some(2)));
    assert_eq!(told(&mut minutes), [(0, 15, 3)]);
    advance(SECOND).await;
    assert_eq!(told(&mut minutes), [(1, 15, 3)]);
    minutes.count(&cost(Some(7), Some(4)));
    assert_eq!(told(&mut minutes), [(0, 7, 4), (1, 15, 3)]);
}

#[tokio::test(start_paused = true)]
async fn a_minute_is_forgotten_when_it_is_too_old_whether_anyone_looked_or_not() {
    for looked in [false, true] {
        let mut minutes = Minutes::default();
        minutes.count(&cost(Some(1), None));
        for _ in 1..MINUTES {
            advance(60 * SECOND).await;
            if looked {
                minutes.last();
            }
        }
        assert_eq!(told(&mut minutes), [(MINUTES - 1, 1, 0)], "{looked}");
        minutes.count(&cost(None, Some(2)));
        advance(60 * SECOND).await;
        assert_eq!(told(&mut minutes), [(1, 0, 2)], "{looked}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_year_of_silence_there_is_nothing_left() {
    let mut minutes = Minutes::default();
    minutes.count(&cost(Some(1), Some(1)));
    advance(365 * 24 * 3600 * SECOND).await;
    assert_eq!(minutes.last(), [NOTHING; MINUTES]);
    minutes.count(&cost(Some(1), Some(1)));
    assert_eq!(told(&mut minutes), [(0, 1, 1)]);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_said_counts_nothing_and_absurd_numbers_stay_at_the_largest() {
    let mut minutes = Minutes::default();
    minutes.count(&cost(None, None));
    assert_eq!(told(&mut minutes), []);
    minutes.count(&cost(Some(u64::MAX), Some(1)));
    minutes.count(&cost(Some(u64::MAX), Some(1)));
    assert_eq!(told(&mut minutes), [(0, u64::MAX, 2)]);
}
