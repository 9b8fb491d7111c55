//! Handles by key.

use std::{collections::HashSet, thread};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use testkit::{Script, ScriptError};
use tower::{Layer, Service, ServiceExt, service_fn};

use super::*;
use crate::abort::{AbortBody, AbortLayer, AbortRegistry};

type Registry = AbortRegistry<&'static str>;

fn text(handle: &AbortHandle) -> Option<String> {
    handle.reason().map(|reason| reason.text().to_owned())
}

#[test]
fn one_key_has_one_handle_as_long_as_somebody_holds_it() {
    let registry = Registry::default();
    let (a, again, b) = (registry.handle("a"), registry.handle("a"), registry.handle("b"));
    assert_eq!(registry.keys().into_iter().collect::<HashSet<_>>(), HashSet::from(["a", "b"]));
    a.abort("stop");
    assert_eq!((text(&again), text(&b)), (Some("stop".into()), None));
    drop(a);
    assert_eq!(registry.keys().len(), 2);
    drop(again);
    assert_eq!(registry.clone().keys(), ["b"]);
    assert!(!registry.handle("a").is_aborted(), "a new one");
}

#[test]
fn one_key_can_be_aborted_and_the_answer_says_whether_there_was_one() {
    let registry = Registry::new();
    let (a, b) = (registry.handle("a"), registry.handle("b"));
    assert_eq!(registry.abort(&"c", "stop"), None);
    assert_eq!(registry.abort(&"a", "stop"), Some(true));
    assert_eq!(registry.abort(&"a", "again"), Some(false));
    assert_eq!((text(&a), text(&b)), (Some("stop".into()), None));
    drop(a);
    assert_eq!(registry.abort(&"a", "late"), None);
}

#[test]
fn all_that_are_there_can_be_aborted_and_what_comes_later_is_not() {
    let registry = Registry::new();
    let handles = ["a", "b", "c"].map(|key| registry.handle(key));
    handles[0].abort("before");
    assert_eq!(registry.abort_all("all"), 2);
    assert_eq!(registry.abort_all("again"), 0);
    let texts: Vec<_> = handles.iter().map(|handle| text(handle).unwrap()).collect();
    assert_eq!(texts, ["before", "all", "all"]);
    assert!(!registry.handle("d").is_aborted() && !registry.root().is_aborted());
}

/// A client that does not read keeps its aborted body for as long as it likes.
#[test]
fn what_comes_later_is_not_aborted_though_the_aborted_exchange_of_its_key_is_still_there() {
    let registry = Registry::new();
    let old = AbortBody::new(Script::new().stall(), &registry.handle("a"));
    assert_eq!(registry.abort(&"a", "one"), Some(true));
    let mut new = AbortBody::new(Full::<Bytes>::from("x"), &registry.handle("a"));
    drop(old);
    assert_eq!(registry.keys(), ["a"], "the old one does not take the new one with it");
    assert_eq!(read(&mut new), (b"x".to_vec(), None));
    let held = registry.handle("a");
    assert_eq!(registry.abort_all("all"), 1);
    assert!(held.is_aborted() && !registry.handle("a").is_aborted());
}

#[test]
fn an_abort_of_the_root_lasts() {
    let registry = Registry::new();
    let a = registry.handle("a");
    assert!(registry.root().abort("shutdown"));
    assert_eq!(text(&a), Some("shutdown".into()));
    assert_eq!(text(&registry.handle("b")), Some("shutdown".into()));
    assert_eq!(registry.abort_all("more"), 0);
}

#[test]
fn exchanges_of_one_key_are_aborted_together() {
    let registry = Registry::new();
    let bodies = [(); 3].map(|()| AbortBody::new(Full::<Bytes>::from("x"), &registry.handle("a")));
    assert_eq!(registry.keys(), ["a"]);
    assert_eq!(registry.abort(&"a", "stop"), Some(true));
    for mut body in bodies {
        assert_eq!(read(&mut body), (Vec::new(), Some("stop".into())));
    }
    assert!(registry.keys().is_empty());
}

#[tokio::test]
async fn an_entry_vanishes_by_itself_when_its_exchange_ends_before_its_head_or_after() {
    let registry: AbortRegistry<String> = AbortRegistry::new();
    let layer = AbortLayer::new({
        let registry = registry.clone();
        move |request: &http::request::Parts| registry.handle(request.uri.to_string())
    });
    let mut service = layer.layer(service_fn(|request: Request<()>| async move {
        match request.uri().path() {
            "/pending" => std::future::pending().await,
            "/error" => Err(ScriptError::new("refused")),
            "/stall" => Ok(Response::new(Script::new().data("x").stall())),
            _ => Ok(Response::new(Script::new().data("x"))),
        }
    }));
    let request = |path: &str| Request::get(path).body(()).unwrap();

    let call = service.ready().await.unwrap().call(request("/pending"));
    assert_eq!(registry.keys(), ["/pending"]);
    drop(call);
    assert!(registry.keys().is_empty(), "its client left");
    assert!(service.ready().await.unwrap().call(request("/error")).await.is_err());
    assert!(registry.keys().is_empty(), "it failed");

    let mut body = service.ready().await.unwrap().call(request("/end")).await.unwrap().into_body();
    assert_eq!(registry.keys(), ["/end"]);
    assert!(body.frame().await.unwrap().is_ok());
    assert!(registry.keys().is_empty(), "it has ended, though it is still there");

    let body = service.ready().await.unwrap().call(request("/stall")).await.unwrap().into_body();
    assert_eq!(registry.abort(&"/stall".into(), "stop"), Some(true));
    drop(body);
    assert!(registry.keys().is_empty());
    assert_eq!(registry.root().dependents(), 0);
}

/// The drop of the old handle comes to the entries when somebody has already made a new one for the key.
#[test]
fn a_key_that_was_made_again_is_not_removed_by_the_old_handles_drop() {
    let registry = Registry::new();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..10_000 {
                    let handle = registry.handle("a");
                    assert_eq!(registry.keys(), ["a"], "round {round}");
                    drop(handle);
                }
            });
        }
    });
    assert!(registry.keys().is_empty());
    assert_eq!(registry.root().dependents(), 0);
}

#[test]
fn a_registry_can_be_printed_whatever_its_keys() {
    let text = format!("{:?}", Registry::new());
    assert!(text.starts_with("AbortRegistry { root: AbortHandle { reason: None"), "{text}");
}
