//! In whose span a call runs.

use tracing::{Span, info_span};

use super::*;

/// Notes the span in which it is polled, each time.
struct InSpan(Script, Noted);
type Noted = Arc<Mutex<Vec<&'static str>>>;

fn note(noted: &Noted) {
    let name = Span::current().metadata().map_or("none", |metadata| metadata.name());
    noted.lock().unwrap().push(name);
}

impl Body for InSpan {
    type Data = Bytes;
    type Error = ScriptError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, ScriptError>>> {
        note(&self.1);
        Pin::new(&mut self.0).poll_frame(cx)
    }
}

#[tokio::test]
async fn a_call_that_is_shared_runs_in_the_span_of_the_one_whose_it_is() {
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry());
    let (gate, noted) = (Gate::new(), Noted::default());
    let (opens, notes) = (gate.clone(), noted.clone());
    let service = joining().layer(service_fn(move |_: Request<ReplayRequest<Script>>| {
        let (opens, notes) = (opens.clone(), notes.clone());
        async move {
            note(&notes);
            opens.opened().await;
            note(&notes);
            let mut response = Response::new(InSpan(Script::new().data("a").data("b"), notes));
            response.headers_mut().insert("content-type", "text/plain".parse().unwrap());
            Ok::<_, Infallible>(response)
        }
    }));
    let (first, second) = (info_span!("first"), info_span!("second"));
    let mut leads = Asked::of(&service, get());
    let mut joins = Asked::of(&service, get());
    assert!(first.in_scope(|| leads.poll()).is_pending());
    assert!(second.in_scope(|| joins.poll()).is_pending());
    gate.open();
    second.in_scope(|| {
        let mut body = joins.body();
        assert_eq!((next(&mut body), next(&mut body)), (is("a"), is("b")));
    });
    let noted = noted.lock().unwrap();
    assert!(noted.len() >= 4 && noted.iter().all(|name| *name == "first"), "{noted:?}");
}
