//! Who may ask the admin listener.

use std::net::IpAddr;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
        header::{
            AUTHORIZATION, CACHE_CONTROL, HOST, ORIGIN, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
        },
        request::Parts,
        uri::Authority,
    },
    middleware::Next,
    response::Response,
};
use subtle::ConstantTimeEq;

use super::Admin;
use crate::reply::refusal;

/// What a browser says of where a request comes from and what it is for (the Fetch Metadata recommendation of the W3C).
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Refuses:
///
/// | request | answer | why |
/// |---|---|---|
/// | without a token: its host is no address, not `localhost`, no `--admin-host` | 421 | a page may have bound its own name to this address |
/// | a foreign page's, other than one that opens the page in a window | 403 | it acts with what the browser may, not with leave |
/// | with a token set: it does not have it | 401 | |
pub(super) async fn guard(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let refused = if admin.token.is_none() && !names_us(&admin, &head) {
        refusal(StatusCode::MISDIRECTED_REQUEST, "this is not that host", "host")
    } else if is_foreign(&head) {
        refusal(StatusCode::FORBIDDEN, "a page of another origin may not ask this", "origin")
    } else if !has_token(&admin, &head.headers) {
        let why = "this needs `Authorization: Bearer` with the admin token";
        let mut response = refusal(StatusCode::UNAUTHORIZED, why, "unauthorized");
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        response
    } else {
        return next.run(Request::from_parts(head, body)).await;
    };
    refused.map(Body::from)
}

/// On every answer: it is what it says it is, and not to be kept.
pub(super) async fn mark(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn names_us(admin: &Admin, head: &Parts) -> bool {
    authority(head).is_some_and(|authority| {
        let host = authority.host();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        let named = |name: &str| host.eq_ignore_ascii_case(name);
        address.parse::<IpAddr>().is_ok()
            || named("localhost")
            || admin.hosts.iter().any(|name| named(name))
    })
}

/// What the request calls us, if it does so once.
fn authority(head: &Parts) -> Option<Authority> {
    let mut hosts = head.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => Authority::try_from(host.as_bytes()).ok(),
        (None, _) => head.uri.authority().cloned(),
        (Some(_), Some(_)) => None,
    }
}

/// Whether a page of another origin sent it. A link to the page is followed: it shows nothing to the page that has it.
fn is_foreign(head: &Parts) -> bool {
    let is = |name: &HeaderName, values: &[&str]| {
        head.headers.get(name).is_some_and(|said| values.iter().any(|value| said == value))
    };
    let opened =
        head.method == Method::GET && head.uri.path() == "/" && is(&FETCH_DEST, &["document"]);
    if head.headers.contains_key(FETCH_SITE) {
        return !is(&FETCH_SITE, &["same-origin", "none"]) && !opened;
    }
    // From a browser that does not say it.
    head.headers.get(ORIGIN).is_some_and(|origin| {
        let origin = origin.to_str().ok().and_then(|origin| Some(origin.split_once("://")?.1));
        let ours = authority(head);
        origin.is_none() || origin != ours.as_ref().map(Authority::as_str)
    })
}

fn has_token(admin: &Admin, headers: &HeaderMap) -> bool {
    let given = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
    match (&admin.token, given.and_then(bearer)) {
        (None, _) => true,
        (Some(token), Some(given)) => token.as_bytes().ct_eq(given).into(),
        (Some(_), None) => false,
    }
}

/// The token of an `Authorization: Bearer`. The scheme is the same in any case (RFC 9110, 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}
