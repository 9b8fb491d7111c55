//! A simulated LLM upstream, so that the proxy works with nothing configured. A request's model name directs it.

use std::{future::pending, io, net::Ipv4Addr};

use axum::{
    Json, Router,
    extract::DefaultBodyLimit,
    response::IntoResponse,
    routing::{get, post},
};
use http::{Method, StatusCode, Uri};
use serde_json::json;
use tokio::net::TcpListener;

pub(crate) use self::manner::HELP;
use self::{answer::answer, anthropic::Anthropic, ollama::Ollama, openai::OpenAi};
use crate::{
    serve::{Limits, serve},
    upstream::Upstream,
};

mod answer;
mod anthropic;
mod ask;
mod manner;
mod ollama;
mod openai;
mod script;
#[cfg(test)]
mod tests;

/// Prompts with pictures are large.
const LARGEST_REQUEST: usize = 64 * 1024 * 1024;

/// Starts the simulation on a loopback port of its own; it lives as long as the runtime.
pub(crate) async fn start() -> io::Result<Upstream> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let authority = listener.local_addr()?.to_string();
    tokio::spawn(serve(listener, router(), Limits::default(), pending()));
    authority.parse().map(Upstream::plain).map_err(io::Error::other)
}

fn router() -> Router {
    Router::new()
        .route("/v1/chat/completions", post(answer::<OpenAi>))
        .route("/v1/messages", post(answer::<Anthropic>))
        .route("/api/chat", post(answer::<Ollama>))
        .route("/v1/models", get(models))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(LARGEST_REQUEST))
}

async fn models() -> impl IntoResponse {
    let names = [
        "sim",
        "sim-words=200-gap=5ms",
        "sim-first=20s",
        "sim-stall=5",
        "sim-fail=5",
        "sim-error=5",
        "sim-status=500",
    ];
    let models = names.map(|name| {
        json!({"id": name, "object": "model", "created": openai::CREATED, "owned_by": "llm-proxy"})
    });
    Json(json!({"object": "list", "data": models}))
}

async fn no_such_path(method: Method, uri: Uri) -> impl IntoResponse {
    let message = format!("the simulation has no {method} {}", uri.path());
    let body = openai::error(StatusCode::NOT_FOUND, &message);
    (StatusCode::NOT_FOUND, Json(body))
}

async fn no_such_method(method: Method, uri: Uri) -> impl IntoResponse {
    let message = format!("{} does not take {method}", uri.path());
    let body = openai::error(StatusCode::METHOD_NOT_ALLOWED, &message);
    (StatusCode::METHOD_NOT_ALLOWED, Json(body))
}
