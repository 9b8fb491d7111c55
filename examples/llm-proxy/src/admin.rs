//! The admin listener: who is here, who left and how, and a way to show somebody out.
//!
//! Pages of other origins can not abort anything: `DELETE` needs their browser's preflight, which is not answered with
//! leave. Against a name that is rebound to this address only `--admin-token` helps: which names a proxy in front goes by
//! is not known here, so the `Host` header is not looked at.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Body,
    extract::{
        Path, Query, Request, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE},
    },
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{delete, get},
};
use serde::Deserialize;
use serde_json::json;
use subtle::ConstantTimeEq;
use tower_lifeline::{
    abort::{AbortKind, AbortReason, AbortRegistry},
    tee::Budget,
};

use crate::{
    books::{self, Books},
    reply::refusal,
};

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
        .route("/metrics", get(metrics))
        .merge(page::router())
        .layer(from_fn_with_state(admin.clone(), authorize))
        .with_state(admin)
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

async fn authorize(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let given = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
    let given = given.and_then(bearer);
    let allowed = match (&admin.token, given) {
        (None, _) => true,
        (Some(token), Some(given)) => token.as_bytes().ct_eq(given).into(),
        (Some(_), None) => false,
    };
    if allowed {
        next.run(request).await
    } else {
        let why = "this needs `Authorization: Bearer` with the admin token";
        let mut response = refusal(StatusCode::UNAUTHORIZED, why, "unauthorized").map(Body::from);
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        response
    }
}

/// The token of an `Authorization: Bearer`. The scheme is the same in any case (RFC 9110, 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
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
    let (content_type, text) = admin.books.metrics(&admin.captured, open);
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
        let reason = self.reason.filter(|text| !text.is_empty());
        reason.map_or_else(|| AbortKind::Requested.into(), AbortReason::from)
    }
}
