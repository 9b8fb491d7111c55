use std::time::Duration;

use http::Request;
use serde_json::{Value, json};
use tokio::time::advance;
use tower_lifeline::exchange::Exchange;

use super::{Books, NEW_ENDINGS, STREAMS, Seen};
use crate::books::{Account, Asked};

fn open(books: &Books) -> (Exchange, Account) {
    let mut request = Request::new(());
    let exchange = Exchange::of(&mut request);
    (exchange, books.open(&request.into_parts().0))
}

/// So many exchanges end, one after the other; tells their ids.
fn end(books: &Books, count: usize) -> Vec<String> {
    let ended = |_| {
        let exchange = Exchange::new();
        exchange.insert(Asked::of(&Request::new(()).into_parts().0));
        books.turned_away(&exchange, &"stop".into());
        exchange.id().to_string()
    };
    (0..count).map(ended).collect()
}

fn news(books: &Books, seen: &mut Seen) -> Value {
    serde_json::to_value(books.news(seen)).unwrap()
}

fn ids(rows: &Value) -> Vec<String> {
    rows.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_ending_is_new_once_to_each_who_looks() {
    let books = Books::default();
    let (mut one, mut other) = (Seen::default(), Seen::default());
    assert_eq!(news(&books, &mut one)["endings"], json!([]));
    let mut expected = end(&books, 3);
    expected.reverse();
    let told = news(&books, &mut one);
    assert_eq!((ids(&told["endings"]), &told["ended"]), (expected.clone(), &json!(3)));
    assert_eq!(news(&books, &mut one)["endings"], json!([]));
    let later = end(&books, 1);
    assert_eq!(ids(&news(&books, &mut one)["endings"]), later);
    assert_eq!(ids(&news(&books, &mut other)["endings"]), [later, expected].concat());
}

#[tokio::test]
async fn of_many_endings_the_last_are_told_and_all_are_counted() {
    let books = Books::default();
    let mut seen = Seen::default();
    for round in 1..=2 {
        let ended = end(&books, 3 * NEW_ENDINGS);
        let told = news(&books, &mut seen);
        let expected: Vec<_> = ended.into_iter().rev().take(NEW_ENDINGS).collect();
        assert_eq!(ids(&told["endings"]), expected);
        assert_eq!(told["ended"], 3 * NEW_ENDINGS * round);
    }
}

#[tokio::test]
async fn streams_are_told_in_the_order_of_their_coming() {
    let books = Books::default();
    let open: Vec<_> = (0..100).map(|_| open(&books)).collect();
    let told = news(&books, &mut Seen::default());
    assert!(
        ids(&told["streams"])
            .iter()
            .eq(&open.iter().map(|(exchange, _)| exchange.id().to_string()).collect::<Vec<_>>())
    );
    assert_eq!((&told["live"], &told["draining"]), (&json!(100), &json!(0)));
}

#[tokio::test]
async fn of_very_many_streams_the_oldest_are_told_and_all_are_counted() {
    let books = Books::default();
    let open: Vec<_> = (0..STREAMS + 10).map(|_| open(&books)).collect();
    let told = news(&books, &mut Seen::default());
    assert_eq!(told["live"], STREAMS + 10);
    let told = ids(&told["streams"]);
    assert_eq!(told.len(), STREAMS);
    assert_eq!(told[0], open[0].0.id().to_string());
    assert_eq!(told[STREAMS - 1], open[STREAMS - 1].0.id().to_string());
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_told_with_all_that_the_list_of_streams_says() {
    let books = Books::default();
    let _open = open(&books);
    advance(Duration::from_millis(1500)).await;
    let told = news(&books, &mut Seen::default());
    assert_eq!(told["streams"], serde_json::to_value(books.streams()).unwrap());
    assert_eq!(told["streams"][0]["age_ms"], 1500);
    assert_eq!(told["minutes"].as_array().unwrap().len(), 30);
    assert_eq!(told["minutes"][29], json!({"input": 0, "output": 0}));
}
