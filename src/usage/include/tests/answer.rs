//! Which event is taken out.

use super::*;

/// What a client gets of such events.
async fn stripped(events: &[&str]) -> String {
    let script = Script::new().data(events.concat());
    let read = drain(IncludeUsageBody::new(script)).await;
    String::from_utf8(read.data.to_vec()).unwrap()
}

#[tokio::test]
async fn the_chunk_is_taken_out_however_it_is_written() {
    for chunk in [
        USAGE,
        "data: {\"choices\":[],\"usage\":{}}\n\n",
        "data:{\"usage\" : {\"prompt_tokens\":12 }, \"choices\" : [ ],\"obfuscation\":\"x\"}\n\n",
        "data: {\"choices\":[],\"usage\":{\"a\":[{}]}}\r\n\r\n",
        "data: {\"choices\":[],\"usage\":{}}\r\r",
        "id: 7\nevent: message\n: why\ndata: {\"choices\":[],\ndata: \"usage\"\ndata: :{}}\n\n",
        "data: {\"ch\\u006fices\":[],\"usage\":{}}\n\n",
    ] {
        assert_eq!(stripped(&[DELTA, chunk, DONE]).await, [DELTA, DONE].concat(), "{chunk}");
        assert_eq!(stripped(&[chunk]).await, "", "{chunk}");
        assert_eq!(stripped(&[chunk, chunk, DONE]).await, DONE, "{chunk}");
    }
}

#[tokio::test]
async fn what_stands_beside_the_chunk_stays() {
    for (before, after) in [
        (": ping\n", ": pong\n"),
        (": ping\n\n", "\n\n"),
        (": ping\r\n\r\n", "\r\n"),
        ("retry: 7\n\n", "id: 7\n\n"),
        ("\n", "data: [DONE]"),
    ] {
        let kept = [before, after].concat();
        assert_eq!(stripped(&[before, USAGE, after]).await, kept);
        let crlf = USAGE.replace('\n', "\r\n");
        assert_eq!(stripped(&[before, &crlf, after]).await, kept);
    }
}

#[tokio::test]
async fn what_only_looks_like_the_chunk_stays() {
    for chunk in [
        DELTA,
        DONE,
        // Azure's first.
        "data: {\"choices\":[],\"prompt_filter_results\":[{\"prompt_index\":0}],\"usage\":null}\n\n",
        "data: {\"choices\":[],\"prompt_filter_results\":[{\"prompt_index\":0}]}\n\n",
        // Mistral, OpenRouter, vLLM.
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}],\"usage\":{\"prompt_tokens\":1}}\n\n",
        "data: {\"choices\":[{}],\"usage\":{}}\n\n",
        "data: {\"usage\":{}}\n\n",
        "data: {\"choices\":null,\"usage\":{}}\n\n",
        "data: {\"choices\":{},\"usage\":{}}\n\n",
        "data: {\"choices\":[],\"usage\":[]}\n\n",
        "data: {\"choices\":[],\"usage\":0}\n\n",
        "data: {\"choices\":[],\"x\":{\"usage\":{}}}\n\n",
        "data: {\"choices\":[],\"usage\":{}}}\n\n",
        "data: [{\"choices\":[],\"usage\":{}}]\n\n",
        ": {\"choices\":[],\"usage\":{}}\n\n",
        "date: {\"choices\":[],\"usage\":{}}\n\n",
    ] {
        let all = [DELTA, chunk, DONE];
        assert_eq!(stripped(&all).await, all.concat());
    }
}

#[tokio::test]
async fn a_chunk_without_its_blank_line_is_taken_out_at_the_end_and_half_of_one_is_not() {
    for end in [USAGE.trim_end(), &USAGE[..USAGE.len() - 1]] {
        assert_eq!(stripped(&[DELTA, end]).await, DELTA);
    }
    let half = &USAGE[..USAGE.len() - 4];
    assert_eq!(stripped(&[DELTA, half]).await, [DELTA, half].concat());
}
