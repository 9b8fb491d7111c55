//! What is held for readers to come, and for slow ones.

use tokio::task::unconstrained;

use super::*;
use crate::{replay::FellBehind, tee::Budget};

fn of_limit(limit: usize) -> ReplayLayer<MemoryStore, RequestKey> {
    joining().answer_limit(limit)
}

#[tokio::test]
async fn an_answer_can_be_joined_until_half_of_what_may_be_held_has_streamed() {
    let response = || text(Script::new().data([b'x'; 32].to_vec()).data("y").stall());
    let service = of_limit(64).layer(upstream([response(), response()]));
    let mut first = Asked::of(&service, get()).body();
    assert!(next(&mut first).is_ready());
    let mut in_time = Asked::of(&service, get());
    assert!(next(&mut in_time.body()).is_ready());
    assert_eq!(next(&mut first), is("y"));
    let mut late = Asked::of(&service, get());
    drop(late.body());
    assert_eq!((in_time.replayed(), late.replayed()), (Some(Replayed::Join), Some(Replayed::Miss)));
}

#[tokio::test]
async fn one_that_falls_further_behind_than_what_may_be_held_is_told_so_and_the_others_read_on() {
    let script = (0..20).fold(Script::new(), |script, _| script.data([b'x'; 16].to_vec()));
    let service = of_limit(64).layer(upstream([text(script)]));
    let mut asked = [(); 3].map(|()| Asked::of(&service, get()));
    let [mut quick, slow, mut slower] = asked.each_mut().map(Asked::body);
    assert!(next(&mut slower).is_ready());
    // Up to here all of it is held for the slowest.
    for _ in 0..5 {
        assert!(next(&mut quick).is_ready());
    }
    assert!(next(&mut slower).is_ready());
    let behind = drain(slow).await;
    assert_eq!(behind.data.len(), 0, "nothing with a hole in it");
    assert!(behind.error.unwrap().is::<FellBehind>());
    assert_eq!(asked[1].exchange.cause().unwrap().reason(), Some("fell_behind"));
    assert_eq!(drain(&mut quick).await.data.len(), 15 * 16);
    assert!(drain(slower).await.error.unwrap().is::<FellBehind>());
}

#[tokio::test]
async fn the_first_one_is_cut_by_nobody_however_slow_and_those_who_joined_wait_for_it() {
    let script = || (0..20).fold(Script::new(), |script, _| script.data([b'x'; 16].to_vec()));
    for reads_on in [true, false] {
        let service = of_limit(64).layer(upstream([text(script())]));
        let mut asked = [(); 3].map(|()| Asked::of(&service, get()));
        let [first, mut quick, slower] = asked.each_mut().map(Asked::body);
        let wakes = Wakes::new();
        let mut ahead = 0;
        while poll_body(Pin::new(&mut quick), &wakes.waker()).is_ready() {
            ahead += 1;
        }
        // 64 bytes for the first one, and no more until it has read.
        assert_eq!((ahead, wakes.count()), (4, 0));
        assert!(next(&mut quick).is_pending(), "again");
        assert!(poll_body(Pin::new(&mut quick), &wakes.waker()).is_pending());
        let mut first = Some(first);
        match &mut first {
            Some(first) if reads_on => assert!(next(first).is_ready()),
            first => drop(first.take()),
        }
        assert!(wakes.count() >= 1, "there is room now");
        assert!(next(&mut quick).is_ready());
        if let Some(mut first) = first {
            assert!(next(&mut quick).is_pending());
            // Who is at the end of what there is takes the frame that waits.
            for _ in 1..6 {
                assert!(next(&mut first).is_ready());
            }
            assert!(next(&mut quick).is_ready());
            for _ in 6..20 {
                assert!(next(&mut first).is_ready() && next(&mut quick).is_ready());
            }
            assert_eq!((next(&mut first), next(&mut quick)), (OVER, OVER), "all of it");
        } else {
            assert_eq!(drain(quick).await.data.len(), 15 * 16);
        }
        assert!(drain(slower).await.error.unwrap().is::<FellBehind>(), "it joined");
    }
}

#[tokio::test]
async fn what_all_have_read_is_let_go_of_once_nobody_can_join() {
    // Its budget of polls is not what this is about.
    unconstrained(async {
        let budget = Budget::new(1024 * KIB);
        let script = (0..200).fold(Script::new(), |script, _| script.data(vec![b'x'; 2 * KIB]));
        let service = of_limit(300 * KIB).within(&budget).layer(upstream([text(script)]));
        let mut bodies = Vec::from([(); 2].map(|()| Asked::of(&service, get()).body()));
        let mut most = 0;
        for frame in 0..200 {
            bodies.iter_mut().for_each(|body| assert!(next(body).is_ready()));
            most = most.max(budget.used());
            // Until then it is kept for the store. What remains is the room of two readers.
            assert!(frame < 160 || budget.used() == room(300), "{} at {frame}", budget.used());
        }
        assert!(most >= room(300), "{most}");
        drop(bodies.split_off(1));
        assert!(budget.used() <= 17 * KIB, "{}", budget.used());
    })
    .await;
}

#[tokio::test]
async fn single_bytes_are_held_within_bounds_too() {
    // Its budget of polls is not what this is about.
    unconstrained(async {
        let script = (0..5000).fold(Script::new(), |script, _| script.data("x"));
        let service = of_limit(1 << 20).layer(upstream([text(script)]));
        let _slow = Asked::of(&service, get()).body();
        assert_eq!(drain(Asked::of(&service, get()).body()).await.data.len(), 5000);
        let budget = Budget::new(1 << 20);
        let script = (0..30_000).fold(Script::new(), |script, _| script.data("x"));
        let service = of_limit(16 * 1024).within(&budget).layer(upstream([text(script)]));
        let mut quick = Asked::of(&service, get()).body();
        let slow = Asked::of(&service, get()).body();
        for _ in 0..30_000 {
            assert!(next(&mut quick).is_ready());
            assert!(budget.used() <= 2 * 16 * 1024 + 2 * 17 * 1024, "{}", budget.used());
        }
        assert!(drain(slow).await.error.unwrap().is::<FellBehind>());
    })
    .await;
}

#[tokio::test]
async fn all_that_is_held_is_of_one_budget_once_for_readers_and_store_and_given_back() {
    let budget = Budget::new(10_000);
    let response = |size| text(Script::new().data(vec![b'x'; size]).stall());
    let service =
        joining().within(&budget).layer(upstream([response(5_000), response(6_000), response(8)]));
    let mut first = Asked::of(&service, post("/", "a")).body();
    assert!(next(&mut first).is_ready());
    assert!((5_000..5_200).contains(&budget.used()), "{}", budget.used());
    let used = budget.used();
    let mut second = Asked::of(&service, post("/", "b")).body();
    assert!(next(&mut second).is_ready());
    assert_eq!(budget.used(), used, "there was no room for the second");
    let mut third = Asked::of(&service, post("/", "b"));
    assert!(next(&mut third.body()).is_ready());
    assert_eq!(third.replayed(), Some(Replayed::Miss), "so nobody joins it");
    drop((first, second, third));
    assert_eq!(budget.used(), 0);
}

/// Two readers at once, one of whom polls: what is held is held once, and less than half of what two copies would take.
#[tokio::test]
async fn an_answer_that_others_join_and_that_is_kept_is_held_once() {
    // Its budget of polls is not what this is about.
    unconstrained(async {
        let budget = Budget::new(1 << 20);
        let script = (0..1_000).fold(Script::new(), |script, _| script.data([b'x'; 256].to_vec()));
        let service = of_limit(512 * KIB).within(&budget).layer(upstream([text(script.stall())]));
        let [mut one, mut two] = [(); 2].map(|()| Asked::of(&service, get()).body());
        for _ in 0..1_000 {
            assert!(next(&mut one).is_ready());
            // In the room that was taken when the second joined, where two copies have no place.
            assert_eq!(budget.used(), room(512));
        }
        for _ in 0..1_000 {
            assert!(next(&mut two).is_ready());
        }
        drop(two);
        assert!(budget.used() < 1_000 * 256 * 11 / 10 + 17 * KIB, "{}", budget.used());
        drop(one);
        assert_eq!(budget.used(), 0);
    })
    .await;
}

#[tokio::test]
async fn an_answer_for_which_there_is_no_room_is_not_kept_and_passes_whole() {
    let budget = Budget::new(10);
    let response = || text(Script::new().data([b'x'; 20].to_vec()));
    let service = layer().within(&budget).layer(upstream([response(), response()]));
    for _ in 0..2 {
        let answer = ask(&service, get()).await;
        assert_eq!((answer.body.data.len(), answer.replayed), (20, Some(Replayed::Miss)));
    }
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn nothing_is_held_by_a_waker_that_outlives_its_body() {
    let (gate, budget) = (Gate::new(), Budget::new(1_000));
    let frame = Bytes::from(vec![b'x'; 20]);
    let script = Script::new().data(frame.clone()).wait(&gate);
    let service = joining().within(&budget).layer(upstream([text(script)]));
    let mut only = Asked::of(&service, get()).body();
    assert!(next(&mut only).is_ready() && next(&mut only).is_pending());
    drop(only);
    assert_eq!((budget.used(), frame.is_unique()), (0, true), "though the gate has the waker");
}

const KIB: usize = 1024;

/// What is taken from the budget when somebody joins an answer of which so many KiB may be held.
const fn room(limit: usize) -> usize {
    limit * KIB + limit * KIB / 16 + crate::log::BLOCK - 64 * KIB
}

/// An answer of so many frames of 32 KiB, none of which is held for the store.
fn teapot(frames: usize) -> Response<Script> {
    let frames = (0..frames).fold(Script::new(), |script, _| script.data(vec![b'x'; 32 * KIB]));
    let mut response = text(frames.stall());
    *response.status_mut() = http::StatusCode::IM_A_TEAPOT;
    response
}

/// Takes all that is left of the budget, as others do whose answers are recorded.
fn used_up(budget: &Budget) -> crate::log::Share {
    let mut share = crate::log::Share::of(Some(budget.clone()));
    let mut left = 1 << 20;
    while left > 0 {
        while share.set(share.bytes() + left) {}
        left /= 2;
    }
    share
}

#[tokio::test]
async fn how_far_behind_a_reader_may_be_does_not_depend_on_what_others_hold() {
    let budget = Budget::new(1000 * KIB);
    let service = of_limit(256 * KIB).within(&budget).layer(upstream([teapot(20)]));
    let [mut quick, mut slow] = [(); 2].map(|()| Asked::of(&service, get()).body());
    let room = budget.used();
    assert!((192 * KIB..=256 * KIB).contains(&room), "it is taken as somebody joins: {room}");
    assert!(next(&mut quick).is_ready());
    let others = used_up(&budget);
    // Of 256 KiB that may be held for it, 8 frames.
    for _ in 1..8 {
        assert!(next(&mut quick).is_ready());
        assert!(budget.used() <= 1000 * KIB);
    }
    for _ in 0..8 {
        assert!(next(&mut slow).is_ready(), "though there is nothing left of the budget");
    }
    // And no more than that, be there ever so much.
    drop(others);
    for _ in 0..9 {
        assert!(next(&mut quick).is_ready());
    }
    assert!(drain(slow).await.error.unwrap().is::<FellBehind>());
    for _ in 0..3 {
        assert!(next(&mut quick).is_ready());
    }
    assert!(next(&mut quick).is_pending());
    assert_eq!(budget.used(), 0, "the one that is left is behind nobody");
}

#[tokio::test]
async fn where_there_is_no_room_to_be_slow_in_nobody_joins_and_each_has_a_stream_of_its_own() {
    let budget = Budget::new(100 * KIB);
    let service =
        of_limit(256 * KIB).within(&budget).layer(upstream([teapot(2), teapot(20), teapot(2)]));
    let mut asked = [(); 2].map(|()| Asked::of(&service, get()));
    let [mut first, mut second] = asked.each_mut().map(Asked::body);
    for _ in 0..20 {
        assert!(next(&mut second).is_ready());
    }
    assert!(next(&mut first).is_ready() && next(&mut first).is_ready(), "and is cut by no other");
    assert_eq!(asked[1].replayed(), Some(Replayed::Miss));
    drop((first, second));
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn room_that_is_given_back_is_there_for_the_next_one_who_joins() {
    let budget = Budget::new(257 * KIB);
    let service = of_limit(256 * KIB).within(&budget).layer(upstream([teapot(2), teapot(2)]));
    let mut first = Asked::of(&service, post("/", "a")).body();
    assert!(next(&mut first).is_ready());
    for _ in 0..3 {
        let mut second = Asked::of(&service, post("/", "a"));
        let mut body = second.body();
        assert!(next(&mut body).is_ready());
        assert_eq!(second.replayed(), Some(Replayed::Join));
        drop(body);
        assert!((32 * KIB..33 * KIB).contains(&budget.used()), "what is held for those to come");
    }
}
