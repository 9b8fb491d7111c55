//! The admin listener: who is here, who left and how, and a way to show somebody out.
//!
//! What is asked by pages of other origins, or under a name that is not ours, is refused.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{ACCEPT, CONTENT_TYPE},
    },
    middleware::{from_fn_with_state, map_response},
    response::{IntoResponse, Response},
    routing::{delete, get},
};
use prometheus_client::metrics::counter::Counter;
use serde::Deserialize;
use serde_json::json;
use tower_lifeline::{
    abort::{AbortKind, AbortReason, AbortRegistry},
    tee::Budget,
    timeouts::{self, TimeoutsLayer},
};

use crate::{
    books::{self, Books},
    reply::refusal,
    serve,
};

mod guard;
mod page;
#[cfg(test)]
mod tests;

/// What the admin listener knows.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    pub(crate) books: Books,
    pub(crate) registry: AbortRegistry<String>,
    /// What the recordings share.
    pub(crate) captured: Budget,
    /// Lines of the log that nobody read.
    pub(crate) dropped: Counter,
    pub(crate) token: Option<Arc<str>>,
    /// By which it may be called, besides addresses and `localhost`.
    pub(crate) hosts: Arc<[String]>,
    /// Whether the proxy takes no more requests.
    pub(crate) stopping: Arc<AtomicBool>,
}

#[derive(Debug, Deserialize)]
struct Why {
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Page {
    limit: Option<usize>,
}

const DEFAULT_PAGE: usize = 100;
const LARGEST_PAGE: usize = 10_000;

/// Whoever takes nothing of what is written for him is cut: feeds are few.
const UNREAD: Duration = Duration::from_secs(10);
/// Longer than between two scrapes.
const IDLE: Duration = Duration::from_secs(120);
/// Of its connections. Those of the proxy are more important, and are not to lack descriptors for these.
const CONNECTIONS: usize = 64;

pub(crate) const LIMITS: serve::Limits =
    serve::Limits { unread: Some(UNREAD), idle: Some(IDLE), connections: Some(CONNECTIONS) };

pub(crate) fn router(admin: Admin) -> Router {
    let guarded = Router::new()
        .route("/streams", get(streams).delete(abort_all))
        .route("/streams/{id}", delete(abort))
        .route("/endings", get(endings))
        .route("/metrics", get(metrics))
        .merge(page::router())
        .fallback(async || StatusCode::NOT_FOUND)
        .layer(from_fn_with_state(admin.clone(), guard::guard));
    guarded
        .route("/healthz", get(async || StatusCode::OK))
        .route("/readyz", get(ready))
        .layer(TimeoutsLayer::new(timeouts::Limits::new().unread(UNREAD)))
        .layer(map_response(guard::mark))
        .with_state(admin)
}

/// For a balancer, which has no token: nothing more than whether to send requests here.
async fn ready(State(admin): State<Admin>) -> StatusCode {
    if admin.stopping.load(Ordering::Relaxed) {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    }
}

/// What is wrong with a request.
struct BadRequest(String);

impl IntoResponse for BadRequest {
    fn into_response(self) -> Response {
        refusal(StatusCode::BAD_REQUEST, &self.0, "bad_request").map(Body::from)
    }
}

impl From<QueryRejection> for BadRequest {
    fn from(rejection: QueryRejection) -> Self {
        Self(rejection.body_text())
    }
}

impl From<PathRejection> for BadRequest {
    fn from(rejection: PathRejection) -> Self {
        Self(rejection.body_text())
    }
}

async fn streams(State(admin): State<Admin>) -> Response {
    Json(admin.books.streams()).into_response()
}

async fn endings(
    State(admin): State<Admin>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Response, BadRequest> {
    let limit = page?.0.limit.unwrap_or(DEFAULT_PAGE).min(LARGEST_PAGE);
    Ok(Json(admin.books.endings(limit)).into_response())
}

async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let mut accepts = headers.get_all(ACCEPT).iter().map(HeaderValue::as_bytes);
    let open = accepts.any(|accept| {
        accept.windows(books::OPEN_METRICS.len()).any(|it| it == books::OPEN_METRICS.as_bytes())
    });
    let (content_type, text) = admin.books.metrics(&admin.captured, &admin.dropped, open);
    ([(CONTENT_TYPE, content_type)], text).into_response()
}

async fn abort(
    State(admin): State<Admin>,
    id: Result<Path<String>, PathRejection>,
    why: Result<Query<Why>, QueryRejection>,
) -> Result<Response, BadRequest> {
    let (Path(id), Query(why)) = (id?, why?);
    let (status, result) = match admin.registry.abort(&id, why.into_reason()) {
        Some(true) => (StatusCode::OK, "aborted"),
        Some(false) => (StatusCode::CONFLICT, "finished"),
        None if admin.books.knows(&id) => (StatusCode::CONFLICT, "finished"),
        None => (StatusCode::NOT_FOUND, "unknown"),
    };
    Ok((status, Json(json!({"result": result}))).into_response())
}

async fn abort_all(
    State(admin): State<Admin>,
    why: Result<Query<Why>, QueryRejection>,
) -> Result<Response, BadRequest> {
    let aborted = admin.registry.abort_all(why?.0.into_reason());
    Ok(Json(json!({"aborted": aborted})).into_response())
}

impl Why {
    fn into_reason(self) -> AbortReason {
        let reason = self.reason.filter(|text| !text.is_empty()).map(|text| books::cut(&text));
        reason.map_or_else(|| AbortKind::Requested.into(), AbortReason::from)
    }
}
