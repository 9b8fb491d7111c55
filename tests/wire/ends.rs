//! How hyper and axum drive a body to its end, and what our layers make of it: truths.md 1, row by row.
//!
//! Every row is played on each server, with Finalize and Tee and without: see [`row::Row`].

mod compressed;
mod flags;
mod lengths;
mod row;

use http::{Response, StatusCode, header};
use testkit::{Eos, Event, H2, H2Next, How, Log, Reason, Script, dechunk};
use tower_lifeline::exchange::Outcome::Completed;

use self::row::{Played, Row, Seen, trailers};
use crate::server::{Front, LIMIT, MOMENT, endings};

const H1S: &[Front] = &Front::H1S;
const H2S: &[Front] = &Front::H2S;
/// axum takes the body away from the answer to a HEAD; these do not.
const PLAIN: &[Front] = &[Front::H2, Front::Auto];

fn with_status(status: StatusCode, script: Script) -> Response<Script> {
    Response::builder().status(status).body(script).unwrap()
}

fn with_length(length: u64, script: Script) -> Response<Script> {
    Response::builder().header(header::CONTENT_LENGTH, length).body(script).unwrap()
}

fn body_of(played: &Played) -> &[u8] {
    &played.wire.body
}

#[tokio::test]
async fn a_head_over_h1_completes_without_a_poll_even_if_the_body_is_infinite() {
    let row = Row::head(|script| Response::new(script.endless("x")));
    let played = row.over_h1(H1S, Completed, None).await;
    assert_eq!((body_of(&played), played.ending.bytes), (&b""[..], 0));
}

#[tokio::test]
async fn a_head_over_h2_completes_whether_its_body_is_sent_or_not() {
    let row = Row::head(|script| Response::new(script.data("hello").eos(Eos::Never)));
    let played = row.over_h2(PLAIN, Completed, Some(Event::End)).await;
    // hyper sends the body, and the client does not stand for it.
    assert_eq!(played.wire.end, Seen::H2(H2Next::Reset(Reason::PROTOCOL_ERROR)));
    let played = row.over_h2(&[Front::Axum], Completed, None).await;
    assert_eq!(played.wire.end, Seen::H2(H2Next::End));
}

#[tokio::test]
async fn a_204_or_304_over_h1_completes_without_a_poll() {
    let no_content = Row::get(|script| with_status(StatusCode::NO_CONTENT, script.endless("x")));
    let played = no_content.over_h1(H1S, Completed, None).await;
    assert_eq!((body_of(&played), played.wire.header("content-length")), (&b""[..], None));

    let not_modified = Row::get(|script| {
        let mut response = with_length(7, script.endless("x"));
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    });
    let played = not_modified.over_h1(H1S, Completed, None).await;
    assert_eq!((body_of(&played), played.wire.header("content-length")), (&b""[..], Some("7")));
}

#[tokio::test]
async fn a_204_or_304_over_h2_completes_though_its_body_is_sent() {
    for row in [
        Row::get(|script| with_status(StatusCode::NO_CONTENT, script.data("x").eos(Eos::Never))),
        Row::get(|script| with_status(StatusCode::NOT_MODIFIED, script.data("x").eos(Eos::Never))),
    ] {
        let played = row.over_h2(H2S, Completed, Some(Event::End)).await;
        assert_eq!(body_of(&played), b"x");
    }
}

#[tokio::test]
async fn a_205_completes_at_its_none_for_its_body_is_sent() {
    let row = Row::get(|script| {
        with_status(StatusCode::RESET_CONTENT, script.data("hello").eos(Eos::Never))
    });
    let played = row.over_h1(H1S, Completed, Some(Event::End)).await;
    assert_eq!(dechunk(body_of(&played)).body, b"hello");
    row.over_h2(H2S, Completed, Some(Event::End)).await;
}

#[tokio::test]
async fn a_content_length_of_a_body_without_hint_completes_over_h1_at_its_last_byte() {
    let row = Row::get(|script| with_length(5, script.data("he").data("llo").stall()));
    let played = row.over_h1(H1S, Completed, Some(Event::Data(3))).await;
    assert_eq!((body_of(&played), played.ending.bytes), (&b"hello"[..], 5));
}

#[tokio::test]
async fn a_content_length_of_a_body_without_hint_completes_over_h2_at_its_none() {
    let row = Row::get(|script| with_length(5, script.data("he").data("llo").eos(Eos::Never)));
    let played = row.over_h2(H2S, Completed, Some(Event::End)).await;
    assert_eq!((body_of(&played), &played.wire.end), (&b"hello"[..], &Seen::H2(H2Next::End)));
}

#[tokio::test]
async fn a_body_that_stays_behind_its_content_length_holds_its_h2_stream_and_is_complete() {
    for front in Front::H2S {
        let (log, (tell, mut endings)) = (Log::new(), endings());
        let row = Row::get(|script| with_length(5, script.data("hello").stall()));
        let server = row.start(front, &log, Some(tell)).await;
        let mut client = H2::connect(server.addr()).await.unwrap();
        let (_, mut body) = client.request("GET", "/", &[]).await.unwrap();
        assert_eq!(body.next(LIMIT).await, H2Next::Data("hello".into()));
        assert_eq!(body.next(MOMENT).await, H2Next::TimedOut);
        endings.none_within(MOMENT).await;
        body.reset(Reason::CANCEL);
        assert_eq!(endings.only(server).await.outcome, Completed, "{front:?}");
    }
}

#[tokio::test]
async fn an_exact_hint_completes_at_its_last_byte_and_over_h2_at_its_none() {
    let row = Row::get(|script| {
        Response::new(script.data("he").data("llo").exact_size(5).eos(Eos::Never))
    });
    let played = row.over_h1(H1S, Completed, Some(Event::Data(3))).await;
    assert_eq!(played.wire.header("content-length"), Some("5"));
    let played = row.over_h2(H2S, Completed, Some(Event::End)).await;
    assert_eq!(body_of(&played), b"hello");
}

#[tokio::test]
async fn trailers_behind_an_exact_hint_are_lost_over_h1_and_sent_over_h2_and_both_complete() {
    let row =
        Row::get(|script| Response::new(script.data("hello").trailers(trailers()).exact_size(5)));
    let played = row.over_h1(H1S, Completed, Some(Event::Data(5))).await;
    assert_eq!(played.ending.trailers, None);
    let played = row.over_h2(H2S, Completed, Some(Event::Trailers)).await;
    assert_eq!(played.wire.end, Seen::H2(H2Next::Trailers(trailers())));
    assert_eq!(played.ending.trailers, Some(trailers()));
}

#[tokio::test]
async fn an_exact_hint_of_nothing_completes_over_h1_without_a_poll() {
    let row = Row::get(|script| Response::new(script.exact_size(0).eos(Eos::Never)));
    let played = row.over_h1(H1S, Completed, None).await;
    assert_eq!(played.wire.header("content-length"), Some("0"));
    row.over_h2(H2S, Completed, Some(Event::End)).await;
}

#[tokio::test]
async fn the_end_of_stream_flag_at_the_start_completes_without_a_poll() {
    let row = Row::get(|script| with_length(5, script.data("never asked for").eos(Eos::Always)));
    let played = row.over_h1(H1S, Completed, None).await;
    assert_eq!((played.wire.header("content-length"), body_of(&played)), (Some("0"), &b""[..]));

    let row = Row::get(|script| Response::new(script.eos(Eos::Always)));
    row.over_h1(H1S, Completed, None).await;
    row.over_h2(H2S, Completed, None).await;
}

#[tokio::test]
async fn the_end_of_stream_flag_with_the_last_frame_completes_without_a_none() {
    let row = Row::get(|script| Response::new(script.data("he").data("llo")));
    let played = row.over_h1(H1S, Completed, Some(Event::Data(3))).await;
    assert!(dechunk(body_of(&played)).complete);
    let played = row.over_h2(H2S, Completed, Some(Event::Data(3))).await;
    assert_eq!(played.wire.end, Seen::H2(H2Next::End));
}

#[tokio::test]
async fn a_chunked_body_completes_at_its_none() {
    let row = Row::get(|script| {
        Response::new(script.data("he").pending().data("llo").pending().eos(Eos::Never))
    });
    let played = row.over_h1(H1S, Completed, Some(Event::End)).await;
    let chunked = dechunk(body_of(&played));
    assert_eq!((&*chunked.body, chunked.complete), (&b"hello"[..], true));
    assert_eq!((played.ending.bytes, played.ending.frames), (5, 2));
    row.over_h2(H2S, Completed, Some(Event::End)).await;
}

#[tokio::test]
async fn trailers_complete_whether_they_are_sent_or_dropped() {
    let answer = |script: Script| {
        let body = script.data("hello").trailers(trailers());
        Response::builder().header(header::TRAILER, "x-sum").body(body).unwrap()
    };
    for (headers, sent) in [(&[("te", "trailers")][..], true), (&[], false)] {
        let row = Row::get(answer).with(headers);
        let played = row.over_h1(H1S, Completed, Some(Event::Trailers)).await;
        let chunked = dechunk(body_of(&played));
        assert_eq!((chunked.complete, chunked.trailers == trailers()), (true, sent));
        assert_eq!(played.ending.trailers, Some(trailers()));
    }
    // The TE header is ignored.
    let played = Row::get(answer).over_h2(H2S, Completed, Some(Event::Trailers)).await;
    assert_eq!(played.wire.end, Seen::H2(H2Next::Trailers(trailers())));
}

#[tokio::test]
async fn trailers_that_the_head_does_not_announce_are_dropped_over_h1_and_complete() {
    let row = Row::get(|script| Response::new(script.data("hello").trailers(trailers())));
    let row = row.with(&[("te", "trailers")]);
    let played = row.over_h1(H1S, Completed, Some(Event::Trailers)).await;
    assert!(dechunk(body_of(&played)).trailers.is_empty());
}

#[tokio::test]
async fn a_body_for_an_http_1_0_client_is_delimited_by_the_close_and_completes_at_its_none() {
    let row = Row::get(|script| Response::new(script.data("hello").eos(Eos::Never))).http_1_0();
    let played = row.over_h1(H1S, Completed, Some(Event::End)).await;
    assert_eq!((body_of(&played), &played.wire.end), (&b"hello"[..], &Seen::H1(How::Fin)));
}
