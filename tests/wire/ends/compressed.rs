//! Inside of tower-http's compression, which asks again after the end: truths.md 12, faults.md 53.

use http::{Response, StatusCode, header};
use testkit::{Eos, Event, H2Next, Log, Script, dechunk};
use tower_lifeline::exchange::Outcome::{Completed, Failed, Truncated};

use super::{H1S, H2S, Played, Row, Seen, row::trailers, with_length, with_status};

const GZIP: &[(&str, &str)] = &[("accept-encoding", "gzip")];
const TEXT: &str = "hello hello hello hello hello hello hello hello";

fn get(answer: fn(Script) -> Response<Script>) -> Row {
    Row::get(answer).with(GZIP).compressed()
}

fn gunzip(played: &Played) -> String {
    assert_eq!(played.wire.header("content-encoding"), Some("gzip"));
    let gzip = match played.wire.end {
        Seen::H1(_) => dechunk(&played.wire.body).body,
        Seen::H2(_) => played.wire.body.clone(),
    };
    std::io::read_to_string(flate2::read::GzDecoder::new(&*gzip)).unwrap()
}

/// Without our layers the body was polled after its end: otherwise the test would show nothing.
fn was_asked_again(log: &Log) -> bool {
    log.count(|event| *event == Event::PollAfterEnd) > 0
}

#[tokio::test]
async fn compression_gets_one_end_and_the_client_valid_gzip() {
    for row in [
        get(|script| Response::new(script.data(TEXT).eos(Eos::Never))),
        get(|script| Response::new(script.data(TEXT))),
        get(|script| Response::new(script.data(TEXT).exact_size(TEXT.len() as u64))),
        get(|script| with_length(TEXT.len() as u64, script.data(TEXT).eos(Eos::Never))),
    ] {
        for played in [
            row.over_h1(H1S, Completed, Some(Event::End)).await,
            row.over_h2(H2S, Completed, Some(Event::End)).await,
        ] {
            assert!(was_asked_again(&played.bare));
            assert_eq!((gunzip(&played), played.ending.bytes), (TEXT.into(), TEXT.len() as u64));
        }
    }
}

#[tokio::test]
async fn compression_gets_the_trailers_once() {
    let row = get(|script| {
        let body = script.data(TEXT).trailers(trailers());
        Response::builder().header(header::TRAILER, "x-sum").body(body).unwrap()
    });
    let played = row.over_h2(H2S, Completed, Some(Event::Trailers)).await;
    assert_eq!((gunzip(&played), played.ending.trailers.clone()), (TEXT.into(), Some(trailers())));
    assert_eq!(played.wire.end, Seen::H2(H2Next::Trailers(trailers())));
    row.over_h1(H1S, Completed, Some(Event::Trailers)).await;
}

#[tokio::test]
async fn compression_gets_an_error_once() {
    let row = get(|script| Response::new(script.data(TEXT).error("boom").data("late")));
    let played = row.over_h1(H1S, Failed, Some(Event::Error)).await;
    assert!(!dechunk(&played.wire.body).complete);
    assert_eq!(played.ending.error().unwrap().messages(), ["boom", "root of boom"]);
    row.over_h2(H2S, Failed, Some(Event::Error)).await;
}

#[tokio::test]
async fn a_body_too_short_for_its_length_is_truncated_under_compression_though_nobody_else_sees_it()
{
    let row = get(|script| with_length(100, script.data(TEXT)));
    let played = row.over_h1(H1S, Truncated, Some(Event::End)).await;
    assert_eq!(gunzip(&played), TEXT);
    row.over_h2(H2S, Truncated, Some(Event::End)).await;
}

#[tokio::test]
async fn what_has_no_body_completes_under_compression_without_a_poll() {
    let head = Row::head(|script| Response::new(script.endless("x"))).with(GZIP).compressed();
    head.over_h1(H1S, Completed, None).await;
    let no_content = get(|script| with_status(StatusCode::NO_CONTENT, script.endless("x")));
    no_content.over_h1(H1S, Completed, None).await;
}

#[tokio::test]
async fn a_body_that_is_not_compressed_keeps_its_hints_through_both() {
    let row = Row::get(|script| Response::new(script.data(TEXT).exact_size(TEXT.len() as u64)));
    let played = row.compressed().over_h1(H1S, Completed, Some(Event::Data(TEXT.len()))).await;
    assert_eq!(played.wire.header("content-length"), Some("47"));
}
