//! How long answers are kept, and how many.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::advance;

use super::*;
use crate::replay::{Key, Recorded, ReplayStore};

fn answer(bytes: usize) -> Recorded {
    Recorded::new(&Response::new(()), &[(Duration::ZERO, Bytes::from(vec![b'x'; bytes]))])
}

async fn has(store: &MemoryStore, name: &str) -> bool {
    store.get(&Key::of([name])).await.is_some()
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_good_for_its_time_from_its_end_on() {
    let second = Duration::from_secs(1);
    let store = MemoryStore::new(1 << 20, 10 * second);
    let body = Script::new().data("a").sleep(5 * second).data("b");
    let bodies = [body, Script::new().data("new")];
    let service = ReplayLayer::new(store, every()).layer(upstream(bodies.map(text)));
    ask(&service, get()).await;
    advance(10 * second - Duration::from_millis(2)).await;
    assert_eq!(ask(&service, get()).await.body.data, "ab");
    advance(Duration::from_millis(2)).await;
    let after = ask(&service, get()).await;
    assert_eq!((after.replayed, &*after.body.data), (Some(Replayed::Miss), b"new".as_slice()));
    assert_eq!(ask(&service, get()).await.replayed, Some(Replayed::Hit), "the new one is kept");
}

#[tokio::test]
async fn the_bytes_are_never_exceeded_and_the_ones_not_asked_for_the_longest_go_first() {
    let store = MemoryStore::new(12_000, HOUR);
    for name in ["a", "b", "c"] {
        store.put(Key::of([name]), answer(3000));
        assert!(store.used() <= 12_000);
    }
    assert!(has(&store, "a").await, "there is room for three");
    store.put(Key::of(["d"]), answer(3000));
    assert!(store.used() <= 12_000);
    assert!(!has(&store, "b").await, "not asked for since it came");
    for name in ["a", "c", "d"] {
        assert!(has(&store, name).await, "{name}");
    }
    for round in 0..100 {
        store.put(Key::of([format!("{round}")]), answer(round * 100));
        assert!(store.used() <= 12_000, "round {round}");
    }
}

#[tokio::test]
async fn an_answer_larger_than_the_store_is_not_kept_and_drives_out_nothing() {
    let store = MemoryStore::new(1000, HOUR);
    store.put(Key::of(["small"]), answer(10));
    store.put(Key::of(["large"]), answer(1001));
    assert!(has(&store, "small").await && !has(&store, "large").await);
}

#[tokio::test]
async fn a_clone_is_the_same_store_and_a_clear_forgets_all() {
    let store = MemoryStore::new(10_000, Duration::MAX);
    store.clone().put(Key::of(["a"]), answer(100));
    assert!(has(&store, "a").await && store.used() >= 100);
    store.clear();
    assert!(!has(&store, "a").await);
    assert_eq!(store.used(), 0);
}

#[test]
fn an_answer_that_was_stored_elsewhere_is_the_same_again() {
    let frames = [("ab", 1), ("c", 5)].map(|(data, at)| (Duration::from_secs(at), data.into()));
    let mut head = Response::new(());
    head.headers_mut().insert("x-a", "1".parse().unwrap());
    let trailers = Some(head.headers().clone());
    let one = Recorded::new(&head, &frames).with_trailers(trailers.clone()).with_length(true);
    let clone = one.clone().with_length(false);
    assert_eq!(one.frames().collect::<Vec<_>>(), frames);
    assert_eq!((one.to_bytes(), one.trailers()), (Bytes::from("abc"), trailers.as_ref()));
    assert_eq!((one.status(), one.headers()), (head.status(), head.headers()));
    assert!(one.has_length() && !clone.has_length());
    assert!(one.size() > 3);
}
