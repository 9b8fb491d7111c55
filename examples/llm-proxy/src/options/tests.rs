use std::time::Duration;

use clap::CommandFactory;

use super::{Layers, Options};

fn read(arguments: &[&str]) -> Result<Options, clap::Error> {
    Options::read(["llm-proxy"].iter().chain(arguments))
}

/// The message and the exit code of a refusal.
fn refusal(arguments: &[&str]) -> (String, i32) {
    let error = read(arguments).unwrap_err();
    (error.to_string(), error.exit_code())
}

#[test]
fn nothing_given_means_the_documented_defaults() {
    let options = read(&[]).unwrap();
    assert_eq!(options.listen, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(options.admin, "127.0.0.1:8081".parse().unwrap());
    assert_eq!(options.admin_token, None);
    assert_eq!(options.upstream, None);
    assert_eq!(options.keepalive, Some(Duration::from_secs(15)));
    assert_eq!(options.capture, Some(1024 * 1024));
    assert_eq!(options.capture_total, Some(256 * 1024 * 1024));
    assert_eq!(options.layers, Layers::All);
}

#[test]
fn every_option_can_be_given() {
    let options = read(&[
        "--listen=[::1]:0",
        "--admin=0.0.0.0:9",
        "--admin-token=secret",
        "--upstream=h2c://127.0.0.1:11434/base/",
        "--keepalive=500ms",
        "--capture=64KiB",
        "--capture-total=2GiB",
        "--layers=none",
    ])
    .unwrap();
    assert_eq!(options.listen, "[::1]:0".parse().unwrap());
    assert_eq!(options.admin, "0.0.0.0:9".parse().unwrap());
    assert_eq!(options.admin_token.as_deref(), Some("secret"));
    assert_eq!(options.upstream.unwrap().to_string(), "h2c://127.0.0.1:11434/base");
    assert_eq!(options.keepalive, Some(Duration::from_millis(500)));
    assert_eq!(options.capture, Some(65536));
    assert_eq!(options.capture_total, Some(2 * 1024 * 1024 * 1024));
    assert_eq!(options.layers, Layers::None);
}

#[test]
fn off_switches_a_limit_off() {
    let options = read(&["--keepalive=off", "--capture=off", "--capture-total=off"]).unwrap();
    assert_eq!(options.keepalive, None);
    assert_eq!(options.capture, None);
    assert_eq!(options.capture_total, None);
}

#[test]
fn a_bad_value_is_refused_with_a_message_that_names_the_option() {
    for (option, value) in [
        ("--listen", "8080"),
        ("--listen", "localhost"),
        ("--admin", "127.0.0.1"),
        ("--admin-token", ""),
        ("--upstream", "127.0.0.1:8000"),
        ("--upstream", "ftp://127.0.0.1"),
        ("--keepalive", "15"),
        ("--keepalive", "0s"),
        ("--keepalive", "soon"),
        ("--keepalive", ""),
        ("--capture", "1MB"),
        ("--capture", "-1B"),
        ("--keepalive", "-1s"),
        ("--capture-total", "much"),
        ("--layers", "some"),
    ] {
        let (message, code) = refusal(&[option, value]);
        assert!(message.contains(option), "{option} {value}: {message}");
        assert_eq!(code, 2, "{option} {value}");
    }
}

#[test]
fn an_unknown_option_is_refused() {
    let (message, code) = refusal(&["--keep-alive=15s"]);
    assert!(message.contains("--keep-alive"));
    assert_eq!(code, 2);
}

#[test]
fn an_admin_listener_open_to_others_needs_a_token() {
    for address in ["0.0.0.0:8081", "[::]:8081", "192.0.2.1:8081"] {
        let (message, code) = refusal(&["--admin", address]);
        assert!(message.contains("--admin "), "{message}");
        assert!(message.contains("--admin-token"), "{message}");
        assert_eq!(code, 2);
        assert!(read(&["--admin", address, "--admin-token", "secret"]).is_ok());
    }
    for address in ["127.0.0.1:0", "127.9.9.9:1", "[::1]:0"] {
        assert!(read(&["--admin", address]).is_ok());
    }
}

#[test]
fn help_explains_every_option_with_its_default() {
    let (help, code) = refusal(&["--help"]);
    assert_eq!(code, 0);
    for argument in Options::command().get_arguments() {
        let name = format!("--{}", argument.get_long().unwrap_or_default());
        assert!(help.contains(&name), "{name}");
    }
    let options = help.split_once("The simulated upstream").unwrap().0;
    for default in [
        "127.0.0.1:8080",
        "127.0.0.1:8081",
        "none",
        "a simulated LLM",
        "15s",
        "1MiB",
        "256MiB",
        "all",
    ] {
        assert!(options.contains(&format!("[default: {default}")), "{default}");
    }
    assert_eq!(options.matches("[default:").count(), 8);
}

#[test]
fn help_explains_how_a_model_name_directs_the_simulation() {
    let (help, _) = refusal(&["--help"]);
    for key in
        ["head=", "first=", "words=", "gap=", "pause=", "stall=", "fail=", "error=", "status="]
    {
        assert!(help.contains(key), "{key}");
    }
}
