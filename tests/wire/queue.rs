//! A queue inside: who waits for a place is served, answered and told of as anybody else.

use std::convert::Infallible;

use axum::body::Body;
use http::Request;
use testkit::{Gate, Script};
use tokio::time::{sleep, timeout};
use tower::{ServiceBuilder, service_fn};
use tower_lifeline::{
    abort::{AbortLayer, AbortRegistry},
    exchange::{Exchange, ExchangeId, Outcome},
    timeouts::{Limits, TimeoutsLayer},
};

use crate::{
    reader::{Over, Reader, Wire},
    server::{LIMIT, MOMENT, Server, endings},
    stage::sse,
};

type Streams = AbortRegistry<ExchangeId>;

/// Waits until so many are listed.
async fn listed(streams: &Streams, count: usize) {
    let listed = async {
        while streams.keys().len() != count {
            sleep(MOMENT / 100).await;
        }
    };
    timeout(LIMIT, listed).await.unwrap_or_else(|_| panic!("{:?} are listed", streams.keys()));
}

#[tokio::test]
async fn whoever_waits_in_a_queue_is_listed_and_has_an_ending_served_aborted_late_or_gone() {
    for wire in Wire::ALL {
        let (streams, gate) = (Streams::new(), Gate::new());
        let (tell, mut endings) = endings();
        let (listing, opened) = (streams.clone(), gate.clone());
        let stack = ServiceBuilder::new()
            .layer(tell.layer())
            .layer(AbortLayer::new(move |request| {
                listing.handle(Exchange::get(&request.extensions).unwrap().id())
            }))
            .concurrency_limit(1)
            .service(service_fn(move |_: Request<Body>| {
                let opened = opened.clone();
                async move {
                    opened.opened().await;
                    Ok::<_, Infallible>(sse(Script::new().data("data: 1\n\n")))
                }
            }));
        let server = Server::start(wire.front(), stack).await;
        drop(tell);
        let ask = || tokio::spawn(Reader::get_at(wire, server.addr(), 65_535));

        let first = ask();
        listed(&streams, 1).await;
        let known = streams.keys();
        let second = ask();
        listed(&streams, 2).await;
        let waits = *streams.keys().iter().find(|id| !known.contains(id)).unwrap();
        let third = ask();
        listed(&streams, 3).await;

        assert_eq!(streams.abort(&waits, "stop"), Some(true), "{wire:?}");
        let mut second = second.await.unwrap();
        let seen = (second.status, second.rest().await);
        assert_eq!(seen, (503, ("aborted: stop\n".into(), Over::Clean)), "{wire:?}");
        assert_eq!(endings.next(LIMIT).await.outcome, Outcome::Aborted, "{wire:?}");
        third.abort(); // Its client leaves.
        assert_eq!(endings.next(LIMIT).await.outcome, Outcome::Disconnected, "{wire:?}");

        gate.open();
        let mut first = first.await.unwrap();
        assert_eq!(first.rest().await, ("data: 1\n\n".into(), Over::Clean), "{wire:?}");
        drop((first, second));
        assert_eq!(endings.only(server).await.outcome, Outcome::Completed, "{wire:?}");
    }
}

#[tokio::test]
async fn whoever_waits_in_a_queue_for_too_long_is_told_by_504() {
    for wire in Wire::BOTH {
        let (tell, mut endings) = endings();
        let stack = ServiceBuilder::new()
            .layer(tell.layer())
            .layer(TimeoutsLayer::new(Limits::new().head(MOMENT)))
            .concurrency_limit(1)
            .service(service_fn(|_: Request<Body>| {
                std::future::pending::<Result<http::Response<Script>, Infallible>>()
            }));
        let server = Server::start(wire.front(), stack).await;
        let ask = || Reader::get_at(wire, server.addr(), 65_535);
        let (first, second) = tokio::join!(ask(), ask());
        assert_eq!((first.status, second.status), (504, 504), "{wire:?}");
        for _ in 0..2 {
            assert_eq!(endings.next(LIMIT).await.outcome, Outcome::TimedOut, "{wire:?}");
        }
    }
}
