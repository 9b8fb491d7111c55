//! `DELETE /streams`: who is ended by it, what it answers, and who wins a race.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::json;
use tokio::{task::JoinSet, time::sleep};

use crate::{
    client::{Client, End, chat, error_event},
    common::Proxy,
};

#[tokio::test]
async fn an_abort_answers_aborted_once_then_finished_and_unknown_for_a_stranger() {
    let proxy = Proxy::start(&[]).await;
    let mut client = Client::send(&proxy, chat("sim-stall=1")).await;
    let target = format!("/streams/{}?reason=first", client.id);
    let (_, status, answer) = proxy.ask_admin("DELETE", &target, "").await;
    assert_eq!((status, answer), (200, json!({"result": "aborted"})));
    let (last, end) = client.rest().await;
    assert!(last.ends_with(&error_event("aborted", "first", "aborted")), "{last}");
    assert_eq!(end, End::Clean);
    let (_, status, answer) = proxy.ask_admin("DELETE", &target, "").await;
    assert_eq!((status, answer), (409, json!({"result": "finished"})));
    let (_, status, answer) = proxy.ask_admin("DELETE", "/streams/0-0", "").await;
    assert_eq!((status, answer), (404, json!({"result": "unknown"})));
    assert_eq!(proxy.ending().await["reason"], "first");
}

#[tokio::test]
async fn a_completed_exchange_is_finished() {
    let proxy = Proxy::start(&[]).await;
    let mut client = Client::send(&proxy, chat("sim-words=1")).await;
    let (answer, _) = client.rest().await;
    assert!(answer.ends_with("data: [DONE]\n\n"));
    assert_eq!(proxy.abort(&client.id, "").await, (409, "finished".into()));
    assert_eq!(proxy.ending().await["outcome"], "completed");
}

#[tokio::test]
async fn without_a_reason_the_reason_is_aborted() {
    let proxy = Proxy::start(&[]).await;
    let mut client = Client::send(&proxy, chat("sim-stall=1")).await;
    proxy.abort(&client.id, "").await;
    let (last, _) = client.rest().await;
    assert!(last.ends_with(&error_event("aborted", "aborted", "aborted")), "{last}");
    assert_eq!(proxy.ending().await["reason"], "aborted");
}

#[tokio::test]
async fn aborting_all_ends_all_that_are_there_and_none_that_comes_later() {
    let proxy = Proxy::start(&[]).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(Client::send(&proxy, chat("sim-stall=1")).await);
    }
    let (_, status, answer) = proxy.ask_admin("DELETE", "/streams?reason=all", "").await;
    assert_eq!((status, answer), (200, json!({"aborted": 5})));
    for client in &mut clients {
        let (last, end) = client.rest().await;
        assert!(last.ends_with(&error_event("aborted", "all", "aborted")), "{last}");
        assert_eq!(end, End::Clean);
    }
    assert_eq!(proxy.ask_admin("DELETE", "/streams", "").await.2, json!({"aborted": 0}));
    let mut later = Client::send(&proxy, chat("sim-words=1")).await;
    assert!(later.rest().await.0.ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn of_several_aborts_at_once_one_wins() {
    let proxy = Arc::new(Proxy::start(&[]).await);
    for round in 0..10 {
        let mut client = Client::send(&proxy, chat("sim-stall=1")).await;
        let mut aborts = JoinSet::new();
        for n in 0..8 {
            let (proxy, id) = (Arc::clone(&proxy), client.id.clone());
            aborts.spawn(async move { (proxy.abort(&id, &format!("?reason=r{n}")).await, n) });
        }
        let answers = aborts.join_all().await;
        let (won, lost): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|((status, _), _)| *status == 200);
        let [((_, result), winner)] = &won[..] else { panic!("round {round}: {won:?}") };
        assert_eq!(result, "aborted");
        assert!(lost.iter().all(|(answer, _)| *answer == (409, "finished".into())), "{lost:?}");
        let reason = format!("r{winner}");
        assert_eq!(proxy.ending_of(&client.id).await["reason"], reason);
        let (last, _) = client.rest().await;
        assert!(last.ends_with(&error_event("aborted", &reason, "aborted")), "{last}");
    }
}

#[tokio::test]
async fn an_abort_that_races_the_end_answers_as_it_ended() {
    let proxy = Arc::new(Proxy::start(&[]).await);
    let mut seen = BTreeMap::<_, usize>::new();
    for n in 0..60 {
        let mut client = Client::send(&proxy, chat("sim-words=4-gap=3ms")).await;
        let abort = tokio::spawn({
            let (proxy, id) = (Arc::clone(&proxy), client.id.clone());
            async move {
                sleep(Duration::from_micros(n * 300)).await;
                proxy.abort(&id, "").await
            }
        });
        let (answer, end) = client.rest().await;
        assert_eq!(end, End::Clean);
        let told = abort.await.unwrap();
        let ending = proxy.ending_of(&client.id).await;
        match ending["outcome"].as_str().unwrap() {
            "aborted" => {
                assert_eq!(told, (200, "aborted".into()));
                assert!(
                    answer.ends_with(&error_event("aborted", "aborted", "aborted")),
                    "{answer}"
                );
            }
            outcome => {
                assert_eq!((outcome, &*told.1), ("completed", "finished"));
                assert!(answer.ends_with("data: [DONE]\n\n"), "{answer}");
            }
        }
        *seen.entry(told).or_default() += 1;
    }
    assert_eq!(seen.len(), 2, "the race was none: {seen:?}");
}
