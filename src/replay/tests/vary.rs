//! An answer that depends on more than its key.

use super::*;
use crate::replay::{Key, Recorded, ReplayStore};

/// The path is all there is to the key.
fn by_path() -> ReplayLayer<MemoryStore, impl crate::replay::MakeKey + Clone> {
    let key =
        |request: &http::request::Parts, _: &[bytes::Bytes]| Some(Key::of([request.uri.path()]));
    ReplayLayer::new(MemoryStore::new(1 << 20, HOUR), key)
}

fn varying(vary: &str, data: &'static str) -> Response<Script> {
    let mut response = text(Script::new().data(data));
    response.headers_mut().insert("vary", vary.parse().unwrap());
    response
}

fn from(name: &'static str, values: &[&str]) -> Request<Script> {
    let mut request = get();
    for value in values {
        request.headers_mut().append(name, value.parse().unwrap());
    }
    request
}

/// What is answered to one, and then to another.
async fn both(
    vary: &str,
    first: Request<Script>,
    second: Request<Script>,
) -> (Option<Replayed>, bytes::Bytes) {
    let service = layer().layer(upstream([varying(vary, "first"), varying(vary, "second")]));
    assert_eq!(ask(&service, first).await.replayed, Some(Replayed::Miss));
    let answer = ask(&service, second).await;
    (answer.replayed, answer.body.data)
}

#[tokio::test]
async fn an_answer_is_for_those_who_say_the_same_in_the_headers_that_it_names_be_they_in_the_key_or_not()
 {
    let hit = (Some(Replayed::Hit), "first".into());
    let miss = (Some(Replayed::Miss), "second".into());
    let agent = |values: &[&str]| from("user-agent", values);
    for vary in
        ["user-agent", "User-Agent", "origin, user-agent", ",user-agent ,", "accept,\tUSER-AGENT"]
    {
        assert_eq!(both(vary, agent(&["a"]), agent(&["a"])).await, hit, "{vary}");
        assert_eq!(both(vary, agent(&["a"]), agent(&["b"])).await, miss, "{vary}");
        assert_eq!(both(vary, agent(&["a"]), agent(&[])).await, miss, "{vary}");
        assert_eq!(both(vary, agent(&[]), agent(&["a"])).await, miss, "{vary}");
        assert_eq!(both(vary, agent(&[]), agent(&[])).await, hit, "{vary}");
        assert_eq!(both(vary, agent(&["a", "b"]), agent(&["ab"])).await, miss, "{vary}");
    }
    // Those who differ in what it does not name, and is in no key, are equal.
    assert_eq!(both("origin", agent(&["a"]), agent(&["b"])).await, hit);
    assert_eq!(both("", agent(&["a"]), agent(&["b"])).await, hit);
    for prefixed in ["x-stainless-lang", "x-b3-traceid", "traceparent"] {
        assert_eq!(both(prefixed, from(prefixed, &["a"]), from(prefixed, &["b"])).await, miss);
    }
}

#[tokio::test]
async fn it_is_obeyed_under_a_key_of_ones_own_too_and_for_a_header_that_is_taken_out_of_it() {
    let answers = || upstream([varying("x-a", "1"), varying("x-a", "2")]);
    let own = by_path().layer(answers());
    let ignoring = every().ignore(http::HeaderName::from_static("x-a"));
    let ignoring = ReplayLayer::new(MemoryStore::new(1 << 20, HOUR), ignoring).layer(answers());
    for (value, expected) in [("a", "1"), ("a", "1"), ("b", "2"), ("b", "2")] {
        assert_eq!(ask(&own, from("x-a", &[value])).await.body.data, expected);
        assert_eq!(ask(&ignoring, from("x-a", &[value])).await.body.data, expected);
    }
}

#[tokio::test]
async fn of_several_that_differ_the_last_one_is_kept_and_a_replay_says_what_it_depends_on() {
    let answers = ["1", "2", "3"].map(|data| varying("user-agent", data));
    let service = layer().layer(upstream(answers));
    let mut seen = Vec::new();
    for agent in ["a", "b", "b", "a", "a"] {
        let answer = ask(&service, from("user-agent", &[agent])).await;
        assert_eq!(answer.head.headers["vary"], "user-agent");
        seen.push((answer.replayed.unwrap(), answer.body.data));
    }
    let (miss, hit) = (Replayed::Miss, Replayed::Hit);
    assert_eq!(
        seen,
        [(miss, "1"), (miss, "2"), (hit, "2"), (miss, "3"), (hit, "3")]
            .map(|(by, data)| (by, data.into()))
    );
}

#[tokio::test]
async fn what_is_for_nobody_else_is_not_kept_however_that_is_written() {
    for vary in ["*", " * ", "origin, *"] {
        assert_eq!(
            both(vary, get(), get()).await,
            (Some(Replayed::Miss), "second".into()),
            "{vary}"
        );
    }
}

#[tokio::test]
async fn an_answer_from_elsewhere_that_does_not_say_whom_it_is_for_is_for_nobody() {
    let store = MemoryStore::new(1 << 20, HOUR);
    let stored = |vary: Option<Key>| {
        let mut head = Response::new(());
        head.headers_mut().insert("vary", "x-a".parse().unwrap());
        Recorded::new(&head, &[(Duration::ZERO, "stored".into())]).with_vary(vary)
    };
    let own = |_: &http::request::Parts, _: &[bytes::Bytes]| Some(Key::of(["one"]));
    let service = ReplayLayer::new(store.clone(), own);
    let service = service.layer(upstream([varying("x-a", "own"), varying("x-a", "again")]));
    store.put(Key::of(["one"]), stored(None));
    assert_eq!(ask(&service, get()).await.body.data, "own");
    // What the layer itself keeps can be stored elsewhere and brought back.
    let kept = store.get(&Key::of(["one"])).await.unwrap();
    let said = Key::from_bytes(*kept.vary().unwrap().as_bytes());
    store.put(Key::of(["one"]), stored(Some(said)));
    assert_eq!(ask(&service, get()).await.body.data, "stored");
    assert_eq!(ask(&service, from("x-a", &["b"])).await.body.data, "again");
}
