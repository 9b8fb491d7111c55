use std::time::Duration;

use clap::CommandFactory;

use super::{Command, Layers, Options};

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
    let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
    assert_eq!(options.head_timeout, minutes(20));
    assert_eq!(options.upload_timeout, minutes(1));
    assert_eq!(options.first_frame_timeout, minutes(5));
    assert_eq!(options.idle_timeout, minutes(10));
    assert_eq!(options.total_timeout, None);
    assert_eq!(options.unread_timeout, Some(Duration::from_secs(60)));
    assert_eq!(options.early_head, None);
    assert_eq!(options.drain, None);
    assert_eq!(options.drain_bytes, Some(1024 * 1024));
    assert_eq!(options.drain_streams, Some(100));
    assert_eq!(options.capture, Some(1024 * 1024));
    assert_eq!(options.capture_total, Some(256 * 1024 * 1024));
    assert_eq!(options.ledger, None);
    assert_eq!(options.coalesce, Some(16 * 1024));
    assert_eq!(options.connection_idle, Some(Duration::from_secs(620)));
    assert_eq!(options.upstream_idle, Some(Duration::from_secs(4)));
    assert_eq!(options.upload_total, Some(256 * 1024 * 1024));
    assert_eq!(options.command, None);
    assert_eq!(options.grace, Some(Duration::from_secs(5)));
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
        "--head-timeout=1ms",
        "--upload-timeout=8ms",
        "--first-frame-timeout=2ms",
        "--idle-timeout=3ms",
        "--total-timeout=4ms",
        "--unread-timeout=5ms",
        "--early-head=6ms",
        "--drain=7ms",
        "--drain-bytes=8B",
        "--drain-streams=9",
        "--grace=0ms",
        "--capture=64KiB",
        "--capture-total=2GiB",
        "--coalesce=4KiB",
        "--connection-idle=10ms",
        "--upstream-idle=11ms",
        "--upload-total=12B",
        "--layers=none",
    ])
    .unwrap();
    assert_eq!(options.listen, "[::1]:0".parse().unwrap());
    assert_eq!(options.admin, "0.0.0.0:9".parse().unwrap());
    assert_eq!(options.admin_token.as_deref(), Some("secret"));
    assert_eq!(options.upstream.unwrap().to_string(), "h2c://127.0.0.1:11434/base");
    assert_eq!(options.keepalive, Some(Duration::from_millis(500)));
    let limits = [
        options.head_timeout,
        options.first_frame_timeout,
        options.idle_timeout,
        options.total_timeout,
        options.unread_timeout,
        options.early_head,
        options.drain,
        options.upload_timeout,
    ];
    assert_eq!(limits, [1, 2, 3, 4, 5, 6, 7, 8].map(|ms| Some(Duration::from_millis(ms))));
    assert_eq!((options.drain_bytes, options.drain_streams), (Some(8), Some(9)));
    assert_eq!(options.grace, Some(Duration::ZERO));
    assert_eq!(options.capture, Some(65536));
    assert_eq!(options.capture_total, Some(2 * 1024 * 1024 * 1024));
    assert_eq!(options.coalesce, Some(4096));
    assert_eq!(options.connection_idle, Some(Duration::from_millis(10)));
    assert_eq!(options.upstream_idle, Some(Duration::from_millis(11)));
    assert_eq!(options.upload_total, Some(12));
    assert_eq!(options.layers, Layers::None);
}

const DURATIONS: [&str; 11] = [
    "--keepalive",
    "--head-timeout",
    "--upload-timeout",
    "--first-frame-timeout",
    "--idle-timeout",
    "--total-timeout",
    "--unread-timeout",
    "--early-head",
    "--drain",
    "--connection-idle",
    "--upstream-idle",
];

#[test]
fn off_switches_a_limit_off() {
    let others = [
        "--drain-bytes",
        "--drain-streams",
        "--capture",
        "--capture-total",
        "--coalesce",
        "--upload-total",
        "--grace",
    ];
    let off: Vec<String> =
        DURATIONS.iter().chain(&others).map(|option| format!("{option}=off")).collect();
    let options = read(&off.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    assert_eq!(options.keepalive, None);
    assert_eq!((options.head_timeout, options.upload_timeout), (None, None));
    assert_eq!((options.first_frame_timeout, options.idle_timeout), (None, None));
    assert_eq!((options.total_timeout, options.unread_timeout), (None, None));
    assert_eq!((options.early_head, options.drain), (None, None));
    assert_eq!((options.drain_bytes, options.drain_streams), (None, None));
    assert_eq!((options.capture, options.capture_total), (None, None));
    assert_eq!(options.coalesce, None);
    assert_eq!((options.connection_idle, options.upstream_idle), (None, None));
    assert_eq!(options.upload_total, None);
    assert_eq!(options.grace, None);
}

#[test]
fn a_limit_of_no_time_is_refused_with_a_message_that_names_the_option() {
    for option in DURATIONS {
        for value in ["0s", "0ms", "-1s", "15", "soon", ""] {
            let (message, code) = refusal(&[option, value]);
            assert!(message.contains(&format!("{option} <D>")), "{option} {value}: {message}");
            assert_eq!(code, 2, "{option} {value}");
        }
    }
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
        ("--coalesce", "16KB"),
        ("--coalesce", "-1"),
        ("--drain-bytes", "1MB"),
        ("--drain-streams", "1.5"),
        ("--drain-streams", "-1"),
        ("--connection-idle", "0s"),
        ("--upstream-idle", "4"),
        ("--upload-total", "1MB"),
        ("--grace", "5"),
        ("--grace", "-1s"),
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
        "16KiB",
        "620s",
        "4s",
        "all",
    ] {
        assert!(options.contains(&format!("[default: {default}")), "{default}");
    }
    let count = |default: &str| options.matches(&format!("[default: {default}]")).count();
    assert_eq!([count("20m"), count("5m"), count("10m")], [1, 1, 1]);
    assert_eq!([count("60s"), count("5s")], [2, 1]);
    assert_eq!([count("off"), count("1MiB"), count("256MiB"), count("100")], [4, 2, 2, 1]);
    assert_eq!(options.matches("[default:").count(), 29);
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

#[test]
fn report_is_a_command_with_a_ledger_of_its_own() {
    let ledger = "usage.db".into();
    let options = read(&["report", "--ledger=usage.db"]).unwrap();
    assert_eq!((options.command, options.ledger), (Some(Command::Report { ledger }), None));
    assert_eq!(read(&["--ledger=usage.db"]).unwrap().ledger, Some("usage.db".into()));
    for arguments in [&["report"][..], &["--keepalive=1s", "report", "--ledger=a"], &["reports"]] {
        assert_eq!(refusal(arguments).1, 2, "{arguments:?}");
    }
}
