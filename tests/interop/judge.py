"""Has the released SDKs read every fixture through llm-proxy, and says what they made of it.

    python judge.py [target/debug/llm-proxy]

One line per check, then `N passed, M failed`. Exit code 1 if one failed.
"""

import http.client
import logging
import sys
import threading
from urllib.parse import urlsplit

from botocore import eventstream
from fixtures import fixtures
from sdks import Told, cohere_chat, readers
from stage import LIMIT, Proxy, Upstream, breaks_off, closes_late, resets, sends_comments, stays_open

TEXT = {
    "openai_chat.sse": 'The "usage":{"prompt_tokens":9} is no usage café 🦀',
    "openai_chat_without_usage.sse": "Hi",
    "openai_chat_error.sse": 'The "error": none',
    "azure.sse": "Hi",
    "mistral.sse": "A",
    "llamacpp.sse": "A",
    "openrouter.sse": "Whole",
    "openrouter_error.sse": "Half",
    "xai.sse": "A",
    "vllm_continuous.sse": "AB",
    "openai_responses.sse": 'Hi{"response":{"usage":1}}',
    "openai_responses_incomplete.sse": "Hi",
    "openai_responses_failed.sse": "Hi",
    "openai_responses_error.sse": "Hi",
    "anthropic.sse": 'Hello "message_delta"',
    "anthropic_cumulative.sse": 'Hello "message_delta"',
    "anthropic_error.sse": 'Hello "message_delta"',
    "anthropic_compatible.sse": "",
    "gemini.sse": "Hello!",
    "gemini_array.json": "Hello!",
    "gemini_vertex.sse": "",
    "gemini_error.sse": "Hel",
    "gemini_error_array.json": "Hel",
    "ollama.ndjson": 'The "done":true sky',
    "ollama_cached.ndjson": "The",
    "ollama_error.ndjson": "The",
    "cohere.sse": "Hi",
    "cohere_error.sse": "Hi",
    "openai_chat.json": "Hi",
    "openai_responses.json": "",
    "anthropic.json": '{}}"{',
    "gemini.json": "!",
    "ollama.json": "The sky",
    "cohere.json": "Hi",
    "bedrock_converse.json": "Hi",
    "error.json": "",
    "bedrock_converse": 'Hi "usage":',
    "bedrock_converse_exception": "",
    "bedrock_invoke": "??>>~~",
}

MESSAGES = {
    "bedrock_converse": ["messageStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"],
    "bedrock_converse_exception": ["messageStart", "throttlingException"],
    "bedrock_invoke": ["chunk"] * 4,
}

# Their SDKs hand an error event of the provider's own on as one more event.
SILENT = ["openai_responses_failed.sse", "openai_responses_error.sse", "cohere_error.sse"]

# Of the upstream, in seconds: long enough for two heartbeats.
PAUSE = 0.3

failures = passes = 0


def same(what, told, expected):
    assert told == expected, f"{what}: {told!r}, expected {expected!r}"


def check(name, judged, *arguments):
    """Prints one line."""
    global failures, passes
    try:
        noted = judged(*arguments)
        passes += 1
        print(f"ok    {name}{': ' + noted if noted else ''}", flush=True)
    except Exception as error:
        failures += 1
        print(f"FAIL  {name}: {type(error).__name__}: {error}", flush=True)


def read(reader, proxy, fixture, told):
    """What the SDK raised, if it did."""
    prefix, _ = readers(fixture)
    try:
        reader(proxy.url + prefix, told, fixture.streams())
    except Exception as error:
        return error


def noticed(reader, raised, told):
    """Whoever reads the SDK knows that the answer is not whole."""
    if raised is None and reader is cohere_chat:
        # Events of types that it does not know are logged and skipped; what is missing is the finish reason.
        same("finish reason", told.finish, None)
        return "nothing raised, no finish reason"
    assert raised, "nothing was raised"
    return type(raised).__name__


def counted(ending, fixture):
    """The ending tells of usage what the library's table says."""
    usage = ending["usage"]
    same("dialect", usage["dialect"], "openai_chat" if "chat/completions" in fixture.path else usage["dialect"])
    for word in ("input", "output", "cached", "reasoning"):
        same(f"/endings {word}", usage[f"{word}_tokens"], fixture.usage[word])
    for word, expected in [("model", fixture.model), ("certainty", fixture.certainty)]:
        same(f"/endings {word}", usage[word], expected)


def whole(reader, proxy, upstream, fixture, pieces=None, pause=0.0, behind=0, then=None):
    status = 400 if fixture.name == "error.json" else 200
    upstream.serve(fixture.content_type, pieces or fixture.pieces(), status, pause, behind, then=then)
    told = Told()
    raised = read(reader, proxy, fixture, told)
    assert upstream.asked, f"nothing was asked: {raised!r}"
    ending = proxy.ending()
    same("path", upstream.asked[0].split("?")[0], fixture.path)
    same("text", told.text, TEXT[fixture.name])
    if status != 200 or fixture.error and fixture.name not in SILENT:
        assert raised, "nothing was raised"
    elif raised:
        raise raised
    else:
        same("finish reason", told.finish or (fixture.error and fixture.finish) or None, fixture.finish)
        same("usage", told.usage or dict.fromkeys(fixture.usage), fixture.usage)
        same("model", told.model or fixture.model, fixture.model)
    counted(ending, fixture)
    same("terminator", ending["terminator"], fixture.terminator)
    # Some SDKs leave as soon as they have read the last event or an error, while the body has not ended: nothing is missing.
    expected = ("failed", "upstream_error_event") if fixture.error else ("completed", None)
    same("ending", (ending["outcome"], ending["reason"]), expected)


def heartbeats_are_there(proxy, upstream, fixture):
    """What is on the wire while the upstream pauses."""
    upstream.serve(fixture.content_type, fixture.pieces(), pause=PAUSE)
    connection = http.client.HTTPConnection(urlsplit(proxy.url).netloc, timeout=LIMIT)
    connection.request("POST", fixture.path)
    body = connection.getresponse().read()
    proxy.ending()
    connection.close()
    if "vnd.amazon" in fixture.content_type:
        return same("body", body, fixture.body)
    assert len(body) > len(fixture.body), "no heartbeat"
    first = len(fixture.pieces()[0])
    added = body[first : first + len(body) - len(fixture.body)]
    same("body without heartbeats", body[:first] + body[first + len(added) :], fixture.body)
    return repr(added)


def behind_the_end(fixture):
    """What an upstream may do behind the last event, and still the answer is whole."""
    if fixture.path.startswith("/v1beta"):
        # Gemini has no terminal event: usage may follow its reason, so only a clean end is one.
        return [closes_late]
    comments = [sends_comments] if "event-stream" in fixture.content_type else []
    return [closes_late, resets, breaks_off, stays_open, *comments]


def with_its_end(fixture):
    """Its pieces, the last event with what ends it: some fixtures leave that out."""
    *pieces, last = fixture.pieces()
    end = b"\n" if "ndjson" in fixture.content_type else b"\n\n"
    lacks = "amazon" not in fixture.content_type and not last.replace(b"\r", b"").endswith(end)
    return [*pieces, last + end if lacks else last]


def inside_an_event(fixture):
    """The same body, its first piece cut in half."""
    first, *rest = fixture.pieces()
    return [first[: len(first) // 2], first[len(first) // 2 :], *rest]


def aborted(reader, proxy, upstream, fixture):
    seen = threading.Event()

    def abort():
        if not seen.is_set():
            seen.set()
            proxy.abort()

    upstream.serve(fixture.content_type, fixture.pieces(), until=seen)
    told = Told(on_text=abort)
    raised = read(reader, proxy, fixture, told)
    ending = proxy.ending()
    same("ending", (ending["outcome"], ending["reason"]), ("aborted", "stop"))
    assert told.text and TEXT[fixture.name].startswith(told.text), told.text
    return noticed(reader, raised, told)


def cut(reader, proxy, upstream, fixture, broken):
    """At every cut, between two events and within one, the SDK's reader notices unless the answer is whole there."""
    pieces, noted = fixture.pieces(), []
    for end in range(1, len(pieces)):
        for half in ([], [pieces[end][: len(pieces[end]) // 2]]):
            upstream.serve(fixture.content_type, pieces[:end] + half, broken=broken)
            told = Told()
            raised = read(reader, proxy, fixture, told)
            ending = proxy.ending()
            assert TEXT[fixture.name].startswith(told.text), told.text
            if not broken and ending["outcome"] == "completed":
                # Behind the finish reason a clean end is one. Half an event behind it is passed on, and some SDKs mind that.
                assert told.finish or fixture.finish is None, f"no reason at {end}"
                if raised and not half:
                    raise raised
            elif ending["terminator"] != "seen":
                same(f"outcome at {end}", ending["outcome"], "failed" if broken else "truncated")
                noted.append(noticed(reader, raised, told))
    assert noted, "nothing was cut"
    return f"{len(noted)} cuts, {', '.join(sorted(set(noted)))}"


def parsed(fixture, kinds):
    """botocore's own parser takes every message, and none of which a bit is wrong."""

    def messages(body):
        buffer = eventstream.EventStreamBuffer()
        buffer.add_data(body)
        return list(buffer)

    kind = lambda message: message.headers.get(":event-type") or message.headers[":exception-type"]
    same("messages", [kind(message) for message in messages(fixture.body)], kinds)
    for at in (4, len(fixture.body) // 2):
        wrong = bytearray(fixture.body)
        wrong[at] ^= 1
        try:
            messages(bytes(wrong))
        except eventstream.ParserError:
            continue
        raise AssertionError(f"a wrong bit at {at} was taken")


def main(binary):
    logging.disable(logging.WARNING)
    upstream = Upstream()
    proxy, beating = Proxy(binary, upstream), Proxy(binary, upstream, "--keepalive=100ms")
    judged, seen = [], set()
    for fixture in fixtures():
        _, found = readers(fixture)
        check(f"{fixture.name} has an SDK to judge it", lambda: same("readers", bool(found), True)) if not found else None
        judged += [(fixture, reader) for reader in found]
    for fixture, reader in judged:
        check(f"{fixture.name} read by {reader.__name__}", whole, reader, proxy, upstream, fixture)
        if fixture.name in MESSAGES:
            check(f"{fixture.name} parsed by botocore.eventstream", parsed, fixture, MESSAGES[fixture.name])
    streams = [(fixture, reader) for fixture, reader in judged if fixture.streams() and not fixture.error]
    for fixture, reader in streams:
        if fixture.name not in seen:
            seen.add(fixture.name)
            check(f"{fixture.name} with heartbeats", heartbeats_are_there, beating, upstream, fixture)
        name = f"{fixture.name} with a pause behind the first event, read by {reader.__name__}"
        check(name, whole, reader, beating, upstream, fixture, None, PAUSE)
        name = f"{fixture.name} with a pause before the first event, read by {reader.__name__}"
        check(name, whole, reader, beating, upstream, fixture, None, PAUSE, -1)
        name = f"{fixture.name} with a pause inside an event, read by {reader.__name__}"
        check(name, whole, reader, beating, upstream, fixture, inside_an_event(fixture), PAUSE)
    for fixture, reader in streams:
        for then in behind_the_end(fixture):
            name = f"{fixture.name} read by {reader.__name__}, whose upstream {then.__name__} behind the last event"
            check(name, whole, reader, proxy, upstream, fixture, with_its_end(fixture), 0.0, 0, then)
    for fixture, reader in streams:
        name = f"{fixture.name}, read by {reader.__name__}"
        if TEXT.get(fixture.name):
            check(f"{name}, aborted", aborted, reader, proxy, upstream, fixture)
        check(f"{name}, truncated", cut, reader, proxy, upstream, fixture, False)
        check(f"{name}, broken off", cut, reader, proxy, upstream, fixture, True)
    for one in (proxy, beating):
        check("the proxy ends with 0", lambda: same("exit code", one.close(), 0))
    print(f"{passes} passed, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:] or ["target/debug/llm-proxy"]))
