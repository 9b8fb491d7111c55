use http::StatusCode;

use super::{no_answer, refusal};
use crate::forward::ForwardError;

#[test]
fn every_refusal_has_the_contracts_shape() {
    for (status, kind) in [
        (StatusCode::BAD_GATEWAY, "upstream"),
        (StatusCode::SERVICE_UNAVAILABLE, "aborted"),
        (StatusCode::GATEWAY_TIMEOUT, "timeout"),
    ] {
        let response = refusal(status, "say \"why\"", "shutdown");
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["content-type"], "application/json");
        let body = response.into_body();
        let expected = format!(
            r#"{{"type":"error","error":{{"type":"{kind}","message":"say \"why\"","code":"shutdown"}}}}"#
        );
        assert_eq!(body, expected);
    }
}

#[test]
fn a_tunnel_is_refused_as_not_implemented() {
    let response = no_answer(&ForwardError::Tunnel);
    assert_eq!(response.status(), StatusCode::NOT_IMPLEMENTED);
}
