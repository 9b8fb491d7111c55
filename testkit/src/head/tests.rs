use super::{Head, head_len};

#[test]
fn a_head_gives_its_line_its_status_and_its_headers() {
    let raw = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nvia:a:b\r\n\r\n";
    let head = Head::new(raw.as_bytes());
    assert_eq!(head.start_line(), "HTTP/1.1 200 OK");
    assert_eq!(head.status(), Some(200));
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert_eq!(head.header("Via"), Some("a:b"));
    assert_eq!(head.header("content-length"), None);
    assert_eq!(head.as_str(), raw);
}

#[test]
fn a_request_has_no_status() {
    assert_eq!(Head::new(b"GET /404 HTTP/1.1\r\n\r\n").status(), None);
}

#[test]
fn a_head_ends_with_its_blank_line() {
    assert_eq!(head_len(b"GET / HTTP/1.1\r\n\r\nbody\r\n\r\n"), Some(18));
    assert_eq!(head_len(b"GET / HTTP/1.1\r\n\r"), None);
}
