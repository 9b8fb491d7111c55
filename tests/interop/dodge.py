"""The dodge, to look at: SDKs that read every word of an answer and leave before the provider says what it cost.

    python dodge.py [target/debug/llm-proxy]

Prints what the provider counted, and what the ledger and `llm-proxy report` say, without and with `--drain 10s`.
"""

import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from fixtures import fixtures
from sdks import ASK, anthropic_client, bedrock_client, ollama_client, openai_client
from stage import Proxy, Upstream

COLUMNS = (
    "usage_dialect, outcome, terminator, usage_certainty, usage_input_tokens, usage_output_tokens,"
    " drained_end, drained_bytes"
)


def dodge_openai(url):
    asked = dict(model="m", messages=ASK, stream=True, stream_options={"include_usage": True})
    with openai_client(f"{url}/v1").chat.completions.create(**asked) as chunks:
        for chunk in chunks:
            yield chunk.choices[0].delta.content or ""
            if chunk.choices[0].finish_reason:
                return


def dodge_anthropic(url):
    with anthropic_client(url).messages.create(model="m", max_tokens=9, messages=ASK, stream=True) as events:
        for event in events:
            if event.type == "content_block_stop":
                return
            yield getattr(getattr(event, "delta", None), "text", "")


def dodge_ollama(url):
    parts = ollama_client(url).chat(model="m", messages=ASK, stream=True)
    with closing(parts):
        for _ in range(2):
            yield next(parts).message.content


def dodge_bedrock(url):
    messages = [{"role": "user", "content": [{"text": "hi"}]}]
    with closing(bedrock_client(url).converse_stream(modelId="m", messages=messages)["stream"]) as events:
        for event in events:
            yield event.get("contentBlockDelta", {}).get("delta", {}).get("text", "")
            if "messageStop" in event:
                return


# Who dodges, whose answer, and how many of its pieces come before the usage.
DODGES = [
    (dodge_openai, "openai_chat.sse", 4),
    (dodge_anthropic, "anthropic.sse", 7),
    (dodge_ollama, "ollama.ndjson", 2),
    (dodge_bedrock, "bedrock_converse", 4),
]


def table(rows):
    rows = [["-" if cell is None else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def main(binary):
    answers = {fixture.name: fixture for fixture in fixtures()}
    for options in ([], ["--drain=10s"]):
        with tempfile.TemporaryDirectory() as place:
            ledger, upstream = Path(place) / "usage.db", Upstream()
            proxy = Proxy(binary, upstream, f"--ledger={ledger}", *options)
            truth = []
            for dodge, name, read in DODGES:
                answer = answers[name]
                upstream.serve(answer.content_type, answer.pieces(), pause=0.3, behind=read - 1)
                text = "".join(dodge(proxy.url))
                proxy.ending()
                truth.append((answer.usage["input"], answer.usage["output"], repr(text)))
            time.sleep(0.25)
            print(f"== llm-proxy --ledger usage.db {' '.join(options)}".rstrip())
            print("the provider counted, and the client read:")
            table([("input", "output", "text"), *truth])
            print(f"sqlite3 usage.db 'SELECT {COLUMNS} FROM endings':")
            with closing(sqlite3.connect(ledger)) as file:
                table([COLUMNS.split(", "), *file.execute(f"SELECT {COLUMNS} FROM endings ORDER BY rowid")])
            print("llm-proxy report --ledger usage.db:", flush=True)
            subprocess.run([binary, "report", "--ledger", ledger], check=True)
            proxy.close()


if __name__ == "__main__":
    main(*sys.argv[1:] or ["target/debug/llm-proxy"])
