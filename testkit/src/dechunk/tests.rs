use bytes::Bytes;

use super::dechunk;

#[test]
fn a_whole_body_is_complete_with_its_chunks_trailers_and_what_follows() {
    let all =
        dechunk(b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\ngrpc-status: 0\r\na: b\r\n\r\nHTTP/1.1");
    assert!(all.complete);
    assert_eq!(all.body, b"abc0123456789");
    assert_eq!(all.chunks, ["abc", "0123456789"].map(Bytes::from));
    assert_eq!((all.trailers.len(), &all.trailers["grpc-status"]), (2, &"0".parse().unwrap()));
    assert_eq!(all.rest, b"HTTP/1.1");
}

#[test]
fn a_body_cut_anywhere_is_not_complete_and_keeps_what_came() {
    let whole = b"3\r\nabc\r\n2\r\nde\r\n0\r\nx: y\r\n\r\n";
    for cut in 0..whole.len() {
        let part = dechunk(&whole[..cut]);
        assert!(!part.complete, "cut at {cut}");
        assert!(b"abcde".starts_with(&part.body), "cut at {cut}");
    }
    assert!(dechunk(whole).complete);
    let part = dechunk(b"3\r\nabc\r\n2\r\nd");
    assert_eq!((part.body, part.chunks), (b"abcd".to_vec(), vec![Bytes::from("abc")]));
}

#[test]
fn malformed_chunks_end_the_body_there() {
    for wire in [
        "x\r\nabc\r\n0\r\n\r\n",
        "ffffffffffffffff\r\nabc\r\n",
        "2\r\nabc\r\n0\r\n\r\n",
        "0\r\nbad\r\n\r\n",
    ] {
        assert!(!dechunk(wire.as_bytes()).complete, "{wire:?}");
    }
}
