//! What a body says, whole and cut off.

use super::asks_for_stream;

fn asks(body: &str) -> bool {
    asks_for_stream(body.as_bytes())
}

#[test]
fn a_body_that_says_so_asks_for_a_stream_wherever_it_says_it() {
    let bodies = [
        r#"{"stream":true}"#,
        r#" { "stream" : true , "model":"m"}"#,
        r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}"#,
        r#"{"stream":false,"stream":true}"#,
        "{\"str\\u0065am\":\ttrue}\r\n",
        r#"{"stream":true,"n":1} and more"#,
    ];
    for body in bodies {
        assert!(asks(body), "{body}");
    }
}

#[test]
fn a_body_that_does_not_say_so_does_not() {
    let bodies = [
        "",
        "{}",
        "true",
        "[true]",
        r#"[{"stream":true}]"#,
        r#""stream""#,
        r#"{"stream":false}"#,
        r#"{"stream":null}"#,
        r#"{"stream":1}"#,
        r#"{"stream":"true"}"#,
        r#"{"stream":[true]}"#,
        r#"{"stream":{"stream":true}}"#,
        r#"{"Stream":true}"#,
        r#"{"streams":true}"#,
        r#"{"options":{"stream":true}}"#,
        r#"{"messages":["stream",true]}"#,
        r#"{"prompt":"\"stream\":true"}"#,
        r#"{"stream":true,"stream":false}"#,
        r#"{"stream":true,"stream":"no"}"#,
        "stream=true",
    ];
    for body in bodies {
        assert!(!asks(body), "{body}");
    }
}

#[test]
fn it_is_found_in_every_prefix_that_has_it_and_in_none_that_has_not() {
    let before = r#"{"model":"mö","n":[1,{"a":"\u00e9}"}],"stream":"#;
    let after = r#","messages":[{"role":"user","content":"hé, \"stream\":false"}],"t":0.5}"#;
    let body = format!("{before}true{after}");
    let known = before.len() + "true".len();
    for end in 0..=body.len() {
        assert_eq!(asks_for_stream(&body.as_bytes()[..end]), end >= known, "{end}");
    }
}

#[test]
fn what_is_behind_it_may_be_no_json_at_all() {
    for rest in [",", ",x", ",\"a\":}", ",\"a\":\"\u{0}", ",\"a\":nul", "]"] {
        assert!(asks(&format!(r#"{{"stream":true{rest}"#)), "{rest}");
    }
    assert!(asks_for_stream(b"{\"stream\":true,\"a\":\"\xff\xfe"));
    assert!(!asks_for_stream(b"\xff{\"stream\":true}"));
}

#[test]
fn depth_and_length_harm_nobody() {
    let deep = format!(r#"{{"a":{},"stream":true}}"#, "[".repeat(60_000));
    assert!(!asks(&deep), "it is cut off before");
    let nested = format!(r#"{{"a":{}{},"stream":true}}"#, "[".repeat(30_000), "]".repeat(30_000));
    assert!(asks(&nested));
    assert!(asks(&format!(r#"{{"stream":true,"a":{}"#, "{\"a\":".repeat(10_000))));
    assert!(asks(&format!(r#"{{"{}":1,"stream":true}}"#, "k".repeat(60_000))));
}
