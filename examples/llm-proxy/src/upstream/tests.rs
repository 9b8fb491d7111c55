use http::Uri;

use super::{Protocol, Upstream};

fn upstream(text: &str) -> Upstream {
    text.parse().unwrap()
}

fn rewritten(base: &str, request: &str) -> String {
    let uri: Uri = request.parse().unwrap();
    upstream(base).uri(&uri).unwrap().to_string()
}

#[test]
fn the_scheme_chooses_the_protocol() {
    assert_eq!(upstream("http://host").protocol(), Protocol::Http1);
    assert_eq!(upstream("h2c://host:1").protocol(), Protocol::Http2);
    assert_eq!(upstream("https://[::1]:8443/").protocol(), Protocol::Tls);
    assert_eq!(upstream("HTTP://host").protocol(), Protocol::Http1);
}

#[test]
fn what_is_no_base_url_is_refused_with_the_reason() {
    for (text, reason) in [
        ("host:8000", "http://"),
        ("/path", "http://"),
        ("ftp://host", "http://"),
        ("http://user:secret@host", "password"),
        ("http://host/?key=1", "query"),
        ("http://host/#top", "fragment"),
        ("http://:80/", "host"),
        ("", "empty"),
    ] {
        let refused = text.parse::<Upstream>().unwrap_err();
        assert!(refused.contains(reason), "{text}: {refused}");
    }
}

#[test]
fn path_and_query_are_kept_byte_for_byte() {
    for path in [
        "/",
        "/v1/chat/completions",
        "/a%2Fb/../c//d;x=1?q=%26&&r=a+b%00&s=?/",
        "//double/slash",
        "/?",
        "/%e2%82%ac/\u{20ac}",
        "/{curly}|pipe\"quote",
    ] {
        assert_eq!(rewritten("http://up:81", path), format!("http://up:81{path}"));
    }
}

#[test]
fn a_path_prefix_goes_before_every_path() {
    for base in ["https://up/base/v2", "https://up/base/v2/"] {
        assert_eq!(rewritten(base, "/x?y"), "https://up/base/v2/x?y");
        assert_eq!(rewritten(base, "/"), "https://up/base/v2/");
    }
}

#[test]
fn a_target_in_absolute_form_goes_to_the_upstream_all_the_same() {
    assert_eq!(rewritten("h2c://up", "https://other/x?y"), "http://up/x?y");
    assert_eq!(rewritten("http://up", "http://other"), "http://up/");
    assert_eq!(rewritten("http://up", "http://other?y"), "http://up/?y");
    assert_eq!(rewritten("http://up/b", "http://other?y"), "http://up/b/?y");
}

#[test]
fn the_asterisk_of_options_stays_alone() {
    let uri = upstream("http://up/base").uri(&"*".parse().unwrap()).unwrap();
    assert_eq!(uri.path(), "*");
}
