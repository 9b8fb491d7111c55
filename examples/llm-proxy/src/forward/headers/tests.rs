use http::{HeaderMap, HeaderName, HeaderValue};

use super::{make_upstream, strip_hop_by_hop};
use crate::upstream::Protocol;

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

#[test]
fn what_is_for_one_connection_goes_no_further() {
    let mut map = headers(&[
        ("connection", "close, X-Named"),
        ("connection", "keep-alive"),
        ("x-named", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("proxy-authenticate", "Basic"),
        ("proxy-authorization", "Basic eDp5"),
        ("te", "gzip"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("x-kept", "2"),
        ("trailer", "x-sum"),
    ]);
    strip_hop_by_hop(&mut map);
    assert_eq!(map, headers(&[("x-kept", "2"), ("trailer", "x-sum")]));
}

#[test]
fn a_connection_header_full_of_nonsense_harms_nothing() {
    let mut map = headers(&[("connection", ",, ,x y,(),ok,"), ("ok", "1"), ("b", "2")]);
    strip_hop_by_hop(&mut map);
    assert_eq!(map, headers(&[("b", "2")]));
}

#[test]
fn a_content_length_beside_a_transfer_encoding_goes_no_further() {
    let mut map = headers(&[("transfer-encoding", "chunked"), ("content-length", "5")]);
    strip_hop_by_hop(&mut map);
    assert!(map.is_empty());
}

#[test]
fn of_te_only_trailers_passes() {
    for (protocol, expected) in [
        (Protocol::Http1, &[("te", "trailers"), ("connection", "te")][..]),
        (Protocol::Http2, &[("te", "trailers")]),
        (Protocol::Tls, &[("te", "trailers")]),
    ] {
        let mut map = headers(&[("te", "gzip;q=0.5, Trailers"), ("connection", "te")]);
        make_upstream(&mut map, protocol);
        assert_eq!(map, headers(expected));
    }
}

#[test]
fn the_clients_host_is_not_the_upstreams() {
    let mut map = headers(&[("host", "proxy.example"), ("x-kept", "1")]);
    make_upstream(&mut map, Protocol::Http1);
    assert_eq!(map, headers(&[("x-kept", "1")]));
}

#[test]
fn the_crumbs_of_a_cookie_become_one() {
    let mut map = headers(&[("cookie", "a=1"), ("cookie", "b=2; c=3")]);
    make_upstream(&mut map, Protocol::Http1);
    assert_eq!(map, headers(&[("cookie", "a=1; b=2; c=3")]));
}
