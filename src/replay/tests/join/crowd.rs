//! Many at once, on several threads.

use std::time::Duration;

use tokio::{
    task::{JoinSet, yield_now},
    time::{Instant, sleep, timeout},
};

use super::*;

const BOUND: Duration = Duration::from_secs(60);

/// A service that counts its calls, and answers with these frames, pausing before each.
fn counted(frames: usize) -> (Arc<AtomicUsize>, impl Serves<Infallible>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let called = calls.clone();
    let service = service_fn(move |_| {
        called.fetch_add(1, Ordering::SeqCst);
        let script = (0..frames)
            .fold(Script::new(), |script, frame| script.pending().data(format!("{frame},")));
        async move {
            yield_now().await;
            Ok(text(script))
        }
    });
    (calls, service)
}

fn whole(frames: usize) -> String {
    (0..frames).map(|frame| format!("{frame},")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_equal_requests_are_one_call_and_all_are_answered_alike() {
    let (calls, service) = counted(50);
    let service = joining().layer(service);
    let mut readers = JoinSet::new();
    for _ in 0..1000 {
        let service = service.clone();
        readers.spawn(async move { ask(&service, get()).await });
    }
    let answers = timeout(BOUND, readers.join_all()).await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    let misses = answers.iter().filter(|answer| answer.replayed == Some(Replayed::Miss)).count();
    assert_eq!(misses, 1);
    for answer in answers {
        assert_eq!(answer.body.data, whole(50));
        assert!(answer.body.error.is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whenever_equal_requests_come_and_leave_nobody_is_forgotten_and_one_call_is_enough() {
    for round in 0..100 {
        let (calls, service) = counted(8);
        let service = joining().layer(service);
        let mut readers = JoinSet::new();
        for reader in 0..24 {
            let service = service.clone();
            readers.spawn(async move {
                for _ in 0..(reader * 7 + round) % 13 {
                    yield_now().await;
                }
                // Some leave in the middle: in the call, or after some frames. The first one stays.
                if reader % 3 == 1 {
                    let asked = Asked::of(&service, get()).answer;
                    let Ok(Ok(answer)) = timeout(Duration::ZERO, asked).await else { return None };
                    let mut body = answer.into_body();
                    for _ in 0..reader % 5 {
                        poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
                    }
                    return None;
                }
                Some(ask(&service, get()).await.body)
            });
        }
        let bodies = timeout(BOUND, readers.join_all()).await.expect("nobody waits for ever");
        for body in bodies.into_iter().flatten() {
            assert_eq!(body.data, whole(8));
            assert!(body.error.is_none());
        }
        assert!(calls.load(Ordering::SeqCst) >= 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_whatever_moment_of_an_answer_one_comes_there_is_no_second_call() {
    for round in 0..200 {
        let (calls, service) = counted(4);
        let service = joining().layer(service);
        let mut readers = JoinSet::new();
        for reader in 0..8 {
            let service = service.clone();
            readers.spawn(async move {
                for _ in 0..(reader * 5 + round) % 31 {
                    yield_now().await;
                }
                ask(&service, get()).await.body.data
            });
        }
        for data in timeout(BOUND, readers.join_all()).await.unwrap() {
            assert_eq!(data, whole(4));
        }
        assert_eq!(calls.load(Ordering::SeqCst), 1, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nothing_comes_nobody_polls_however_many_wait() {
    let log = Log::new();
    let script = Script::new().data("a").stall().log_into(&log);
    let service = joining().layer(upstream([text(script)]));
    let mut readers = JoinSet::new();
    for _ in 0..200 {
        let service = service.clone();
        readers.spawn(async move { ask(&service, get()).await });
    }
    let deadline = Instant::now() + BOUND;
    let mut polls = 0;
    // Calm within the bound: as many polls as half a second ago, and one for each reader at most.
    while log.polls() == 0 || log.polls() != std::mem::replace(&mut polls, log.polls()) {
        assert!(Instant::now() < deadline, "they never come to rest: {polls} polls");
        sleep(Duration::from_millis(500)).await;
    }
    assert!(polls < 1000, "{polls} polls");
}
