//! What is seen of an abort that has no final frame: the cut, or the code of the reset (protocol.md 1f).

use http::request::Parts;
use testkit::Script;
use tower::ServiceBuilder;
use tower_lifeline::{
    abort::{AbortHandle, AbortLayer},
    exchange::Outcome,
};

use crate::{
    reader::{Over, Reader, Wire},
    server::{Server, endings},
    stage::{answering, sse},
};

/// Aborts a stream, and says how its client saw it end.
async fn cut<F>(wire: Wire, handle: AbortHandle, layer: AbortLayer<F>) -> Over
where
    F: Fn(&Parts) -> AbortHandle + Clone + Send + Sync + 'static,
{
    let (tell, endings) = endings();
    let stack = ServiceBuilder::new()
        .layer(layer)
        .layer(tell.layer())
        .service(answering(|| sse(Script::new().data("data: one\n\n").stall())));
    drop(tell);
    let server = Server::start(wire.front(), stack).await;
    let mut reader = Reader::get(wire, &server).await;
    reader.read_to("data: one\n\n").await;
    assert!(handle.abort("stop"));
    let (body, over) = reader.rest().await;
    assert_eq!(body, "data: one\n\n", "{wire:?}");
    drop(reader);
    assert_eq!(endings.only(server).await.outcome, Outcome::Aborted, "{wire:?}");
    over
}

#[tokio::test]
async fn without_a_final_frame_the_connection_is_cut_or_the_stream_reset_with_internal_error() {
    for wire in Wire::ALL {
        let handle = AbortHandle::new();
        let given = handle.clone();
        let over = cut(wire, handle, AbortLayer::new(move |_| given.clone())).await;
        assert_eq!(over, wire.cut(), "{wire:?}");
    }
}

#[cfg(feature = "h2")]
mod chosen {
    use testkit::Reason;

    use super::*;
    use crate::server::Front;

    async fn reset_with(wire: Wire, code: Reason) -> Over {
        let handle = AbortHandle::new();
        let given = handle.clone();
        cut(wire, handle, AbortLayer::new(move |_| given.clone()).reset(code)).await
    }

    #[tokio::test]
    async fn an_aborted_stream_is_reset_with_the_chosen_code() {
        for front in Front::H2S {
            for code in [Reason::CANCEL, Reason::ENHANCE_YOUR_CALM, Reason::REFUSED_STREAM] {
                let over = reset_with(Wire::H2(front), code).await;
                assert_eq!(over, Over::Reset(code), "{front:?}");
            }
        }
    }

    // truths.md 4: a reader takes NO_ERROR for a clean end.
    #[tokio::test]
    async fn no_error_is_never_the_code_of_an_abort() {
        let over = reset_with(Wire::H2(Front::H2), Reason::NO_ERROR).await;
        assert_eq!(over, Over::Reset(Reason::INTERNAL_ERROR));
    }
}
