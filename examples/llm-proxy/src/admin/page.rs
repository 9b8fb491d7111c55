//! The live page: `GET /`, its script and style, and the feed that it reads.
//!
//! All of it comes from here and nothing from anywhere else; the browser is told to hold it to that. With
//! `--admin-token` the page needs the header as everything else does, and a browser sends none by itself.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_FRAME_OPTIONS},
    },
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
    routing::get,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{MissedTickBehavior, interval},
};
use tokio_stream::{Stream, StreamExt, wrappers::IntervalStream};

use super::Admin;
use crate::{
    books::{Books, Seen},
    reply::refusal,
};

#[cfg(test)]
mod tests;

const PAGE: &str = include_str!("page/page.html");
const SCRIPT: &str = include_str!("page/page.js");
const STYLE: &str = include_str!("page/page.css");

/// Between two events of the feed.
const BEAT: Duration = Duration::from_secs(1);
/// After which a browser that lost the feed asks again.
const RETRY: Duration = Duration::from_secs(1);

/// Nothing but our own script, style and feed, in nobody's frame; and no text is ever made into markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

const HEADERS: [(HeaderName, HeaderValue); 3] = [
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

/// So many feeds at once: each event of each tells of every stream, and that is work which the streams would wait for.
const FEEDS: usize = 16;

pub(super) fn router() -> Router<Admin> {
    let feeds = Arc::new(Semaphore::new(FEEDS));
    Router::new()
        .route("/", get(async || file("text/html; charset=utf-8", PAGE)))
        .route("/page.js", get(async || file("text/javascript; charset=utf-8", SCRIPT)))
        .route("/page.css", get(async || file("text/css; charset=utf-8", STYLE)))
        .route("/live", get(move |State(admin): State<Admin>| live(admin.books, feeds.clone())))
}

fn file(content_type: &'static str, text: &'static str) -> Response {
    (HEADERS, [(CONTENT_TYPE, HeaderValue::from_static(content_type))], text).into_response()
}

async fn live(books: Books, feeds: Arc<Semaphore>) -> Response {
    match feeds.try_acquire_owned() {
        Ok(permit) => (HEADERS, Sse::new(feed(books, permit))).into_response(),
        Err(_) => {
            let why = format!("there are {FEEDS} feeds already");
            refusal(StatusCode::SERVICE_UNAVAILABLE, &why, "feeds").map(Body::from)
        }
    }
}

/// What is so, at once and then in every beat, as one event each.
///
/// It is made only when the connection takes it: a client that does not read costs one event, and gets none of those it
/// missed. It ends with its client, or with the process, which does not wait for it.
fn feed(
    books: Books,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let mut beats = interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = Seen::default();
    IntervalStream::new(beats).map(move |_| {
        let _held = &permit;
        let news = books.news(&mut seen);
        // Numbers and strings always have a JSON form.
        Ok(Event::default().retry(RETRY).json_data(news).unwrap_or_default())
    })
}
