//! The admin listener: who is here, who left and how, and a way to show somebody out.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, Request, State},
    http::{HeaderValue, StatusCode, header::AUTHORIZATION},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{delete, get},
};
use serde::Deserialize;
use serde_json::json;
use subtle::ConstantTimeEq;
use tower_lifeline::abort::{AbortKind, AbortReason, AbortRegistry};

use crate::{books::Books, reply::refusal};

#[cfg(test)]
mod tests;

/// What the admin listener knows.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    pub(crate) books: Books,
    pub(crate) registry: AbortRegistry<String>,
    pub(crate) token: Option<Arc<str>>,
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

pub(crate) fn router(admin: Admin) -> Router {
    Router::new()
        .route("/streams", get(streams).delete(abort_all))
        .route("/streams/{id}", delete(abort))
        .route("/endings", get(endings))
        .layer(from_fn_with_state(admin.clone(), authorize))
        .with_state(admin)
}

async fn authorize(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let given = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
    let given = given.and_then(|value| value.strip_prefix(b"Bearer "));
    let allowed = match (&admin.token, given) {
        (None, _) => true,
        (Some(token), Some(given)) => token.as_bytes().ct_eq(given).into(),
        (Some(_), None) => false,
    };
    if allowed {
        next.run(request).await
    } else {
        let why = "this needs `Authorization: Bearer` with the admin token";
        refusal(StatusCode::UNAUTHORIZED, why, "unauthorized").map(Body::from)
    }
}

async fn streams(State(admin): State<Admin>) -> Response {
    Json(admin.books.streams()).into_response()
}

async fn endings(State(admin): State<Admin>, Query(page): Query<Page>) -> Response {
    let limit = page.limit.unwrap_or(DEFAULT_PAGE).min(LARGEST_PAGE);
    Json(admin.books.endings(limit)).into_response()
}

async fn abort(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    Query(why): Query<Why>,
) -> Response {
    let (status, result) = match admin.registry.abort(&id, why.into_reason()) {
        Some(true) => (StatusCode::OK, "aborted"),
        Some(false) => (StatusCode::CONFLICT, "finished"),
        None if admin.books.knows(&id) => (StatusCode::CONFLICT, "finished"),
        None => (StatusCode::NOT_FOUND, "unknown"),
    };
    (status, Json(json!({"result": result}))).into_response()
}

async fn abort_all(State(admin): State<Admin>, Query(why): Query<Why>) -> Response {
    let aborted = admin.registry.abort_all(why.into_reason());
    Json(json!({"aborted": aborted})).into_response()
}

impl Why {
    fn into_reason(self) -> AbortReason {
        let reason = self.reason.filter(|text| !text.is_empty());
        reason.map_or_else(|| AbortKind::Requested.into(), AbortReason::from)
    }
}
