use http::{Request, Response};

use super::Size;

fn request(fields: usize, value: usize) -> Size {
    let mut request = Request::get("/");
    for n in 0..fields {
        request = request.header(format!("x-{n:06}"), "v".repeat(value));
    }
    Size::of_request(&request.body(()).unwrap().into_parts().0)
}

#[test]
fn a_head_is_as_large_as_it_would_be_in_http1() {
    // "GET / HTTP/1.1\r\n", "x-000000: \r\n", "\r\n".
    let rest = 16 + 12 + 2;
    for (value, size) in [
        (65_536 - rest, Size::Fits),
        (65_536 - rest + 1, Size::TooLarge),
        (131_072 - rest, Size::TooLarge),
        (131_072 - rest + 1, Size::FarTooLarge),
    ] {
        assert_eq!(request(1, value), size, "{value}");
    }
}

#[test]
fn a_head_has_at_most_256_fields() {
    assert_eq!(request(256, 1), Size::Fits);
    assert_eq!(request(257, 1), Size::TooLarge);
    assert_eq!(request(256, 250), Size::TooLarge);
}

#[test]
fn the_target_counts_in_both_protocols() {
    let target = |target: String| {
        let request = Request::get(target).header("x", "v".repeat(32 * 1024)).body(()).unwrap();
        Size::of_request(&request.into_parts().0)
    };
    assert_eq!(target(format!("/{}", "p".repeat(30 * 1024))), Size::Fits);
    assert_eq!(target(format!("/{}", "p".repeat(33 * 1024))), Size::TooLarge);
    assert_eq!(target(format!("http://host/{}", "p".repeat(33 * 1024))), Size::TooLarge);
}

#[test]
fn a_response_is_measured_alike() {
    let response = |value: usize| {
        let response = Response::builder().header("x", "v".repeat(value)).body(()).unwrap();
        Size::of_response(&response.into_parts().0)
    };
    assert_eq!(response(65_000), Size::Fits);
    assert_eq!(response(66_000), Size::TooLarge);
    assert_eq!(response(132_000), Size::FarTooLarge);
}
