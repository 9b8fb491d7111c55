//! What requests of several tenants share: the calls that run, and the store.

use std::task::Poll;

use http_body::Body;
use testkit::{Gate, poll_body};

use super::*;

const TENANTS: [&str; 3] = ["alice", "bob", "carol"];

fn of(tenant: &str, path: &str) -> Request<Script> {
    let mut request = post(path, "q");
    request.headers_mut().insert("x-tenant", tenant.parse().unwrap());
    request
}

/// Answers each with his name, Alice only when the gate is opened.
fn by_name(gate: &Gate) -> impl Serves<Infallible> {
    let gate = gate.clone();
    service_fn(move |request: Request<ReplayRequest<Script>>| {
        let tenant = request.headers()["x-tenant"].to_str().unwrap().to_owned();
        let (gate, path) = (gate.clone(), request.uri().path().to_owned());
        async move {
            if tenant == "alice" {
                gate.opened().await;
            }
            Ok(text(Script::new().data(format!("{tenant} {path}"))))
        }
    })
}

#[tokio::test]
async fn whose_call_hangs_holds_up_nobody_else() {
    let gate = Gate::new();
    let service = layer().coalesce().layer(by_name(&gate));
    let mut hung = Box::pin(service.clone().oneshot(of("alice", "/")));
    assert!(futures_poll(hung.as_mut()).is_pending());
    for replayed in [Replayed::Miss, Replayed::Hit] {
        let answer = ask(&service, of("bob", "/")).await;
        assert_eq!((answer.replayed, &*answer.body.data), (Some(replayed), b"bob /".as_slice()));
    }
    assert!(futures_poll(hung.as_mut()).is_pending());
    gate.open();
    let Ok(response) = hung.await;
    assert_eq!(drain(response.into_body()).await.data, "alice /");
}

fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

#[tokio::test]
async fn who_does_not_read_slows_nobody_else() {
    let gate = Gate::new();
    gate.open();
    let service = layer().coalesce().layer(by_name(&gate));
    let Ok(unread) = service.clone().oneshot(of("alice", "/")).await;
    let mut unread = Box::pin(unread.into_body());
    for tenant in TENANTS {
        let answer = ask(&service, of(tenant, "/")).await;
        assert_eq!(answer.body.data, format!("{tenant} /"));
    }
    assert!(!unread.is_end_stream());
    let first = poll_body(unread.as_mut(), std::task::Waker::noop());
    assert!(
        matches!(first, Poll::Ready(Some(Ok(frame))) if frame.data_ref().unwrap() == "alice /")
    );
}

#[tokio::test]
async fn who_floods_the_store_costs_others_their_hits_and_shows_nobody_an_answer_of_another() {
    let gate = Gate::new();
    gate.open();
    let store = MemoryStore::new(20_000, HOUR);
    let service = ReplayLayer::new(store.clone(), every()).coalesce().layer(by_name(&gate));
    let asked = async |tenant: &str, path: &str| {
        let answer = ask(&service, of(tenant, path)).await;
        assert_eq!(answer.body.data, format!("{tenant} {path}"), "never another's");
        assert!(store.used() <= 20_000);
        answer.replayed.unwrap()
    };
    assert_eq!(asked("bob", "/").await, Replayed::Miss);
    assert_eq!(asked("bob", "/").await, Replayed::Hit);
    for n in 0..500 {
        assert_eq!(asked("alice", &format!("/{n}")).await, Replayed::Miss);
    }
    // Its place was taken: it is asked for again, and kept again.
    assert_eq!(asked("bob", "/").await, Replayed::Miss);
    assert_eq!(asked("bob", "/").await, Replayed::Hit);
}
