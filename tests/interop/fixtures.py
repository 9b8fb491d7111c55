"""The library's fixtures, and what the library's own tests expect of them: read where they are, so that there is one truth."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "src/usage/tests"
FOLDER = ROOT / "tests/fixtures/usage"

LINE = re.compile(
    r"(?P<dialect>\S+) (?P<model>\S+) in (?P<input>\S+) out (?P<output>\S+) cached (?P<cached>\S+) written (?P<written>\S+)"
    r" thoughts (?P<reasoning>\S+) (?P<finish>\S+) (?P<certainty>\S+) (?P<terminator>\S+?)(?P<error> error)?"
)


@dataclass(frozen=True)
class Fixture:
    """A response: the path of its request, its content type and body, and what is expected of it."""

    name: str
    path: str
    content_type: str
    body: bytes
    model: str | None
    usage: dict
    finish: str | None
    certainty: str
    terminator: str
    error: bool

    def pieces(self):
        """Cuts the body as a server sends it: by events, by lines, by messages, or in half."""
        if "event-stream" in self.content_type:
            return re.findall(rb"(?s).+?(?:\r?\n\r?\n|$)", self.body)
        if "ndjson" in self.content_type:
            return self.body.splitlines(keepends=True)
        if "eventstream" in self.content_type:
            pieces, at = [], 0
            while at < len(self.body):
                length = int.from_bytes(self.body[at : at + 4], "big")
                pieces.append(self.body[at : at + length])
                at += length
            return pieces
        middle = len(self.body) // 2
        return [self.body[:middle], self.body[middle:]]

    def streams(self):
        """Whether it comes event by event."""
        return self.content_type != "application/json"


def fixtures():
    """All of them, as src/usage/tests/samples.rs and table.rs name them."""
    samples, table = (TESTS / "samples.rs").read_text(), (TESTS / "table.rs").read_text()
    words = dict(re.findall(r'const (\w+): &str = "(.*?)";', samples))
    asked = re.findall(r'\("([\w.]+)", (\w+|"[^"]+"), (\w+)\)', samples)
    asked += [(name, path, "FRAMES") for name, path in re.findall(r'frames\("(\w+)", (\w+), ', samples)]
    expected = dict(re.findall(r'\(\s*"([\w.]+)",\s*"(.+? in .+? out .+?)",?\s*\)', table))
    if not asked or {name for name, *_ in asked} != set(expected):
        raise SystemExit(f"samples.rs and table.rs are not as expected: {sorted(expected)}")
    for name, path, kind in asked:
        line = LINE.fullmatch(expected[name]).groupdict()
        count = lambda word: None if line[word] == "-" else int(line[word])
        text = lambda word: None if line[word] == "-" else line[word]
        file = name if "." in name else f"{name}.bin"
        yield Fixture(
            name=name,
            path=words.get(path, path.strip('"')),
            content_type=words[kind],
            body=(FOLDER / file).read_bytes(),
            model=text("model"),
            usage={word: count(word) for word in ("input", "output", "cached", "written", "reasoning")},
            finish=text("finish"),
            certainty=line["certainty"],
            terminator=line["terminator"],
            error=bool(line["error"]),
        )
