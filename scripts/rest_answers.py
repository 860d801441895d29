"""Writes docs/rest-answers.md: every endpoint asked through HTTP, what the specification says
beside what came back.

python scripts/rest_answers.py            asks a server that it starts itself
python scripts/rest_answers.py --check    writes nothing; fails where the page differs, or the
                                          specification does not allow an answer
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import httpx

# A line of the tables below is a request.
# ruff: noqa: E501
ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "rest-answers.md"
OK, GONE = {"message": "OK", "code": 0}, "Collection missing does not exist."
FLAT8 = {"collection_name": "films", "dimension": 2}
NUMBERS = [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]
PLAIN = re.compile(
    r"^server=oatpp/1\.0\.1\ncode=404\ndescription=Not Found\nmessage=Current url has no mapping\n?$"
)
TEXT, COUNT = str, int
SEGMENT = {"data_size": COUNT, "index_name": "IDMAP", "name": TEXT, "row_count": 3}
FILMS = {
    **FLAT8,
    "index_file_size": 1024,
    "metric_type": "L2",
    "count": 3,
    "index": "FLAT",
    "index_params": "{}",
}
# What differs from run to run, as the page shows it.
VOLATILE = (
    (re.compile(r"\b\d{19}\b"), "N"),
    (re.compile(r'("memory":)\d+'), r"\1N"),
    (re.compile(r'(memory_(?:total|used)\\":\\")\d+'), r"\1N"),
    (re.compile(r'("reply":")[0-9a-f]{7,40}"'), r'\1N"'),
    (re.compile(r'((?:seconds|began)":)[0-9.eN+-]+'), r"\1N"),
    (re.compile(r"(The body is no JSON: )[^\"]*"), r"\1..."),
)
HEAD = """# Every endpoint, asked

What the specification of the REST API of Milvus 1.x says, and what Milvine answered over HTTP when
this page was made. `N` stands for what differs from run to run. [REST API](rest.md) tells how to
use it. `python scripts/rest_answers.py` makes this page; the test suite asks again, compares each
answer with what the specification allows, and the page with the answers.
"""


class Failure(NamedTuple):
    """An answer of status and code, with a text that holds `says`."""

    code: int
    says: str = ""


@dataclass(frozen=True)
class Step:
    """One request; `answer` is JSON in which a type stands for any value of it, a Failure, or a
    pattern for plain text.
    """

    method: str
    path: str
    status: int
    answer: Any
    body: Any = None
    says: str = ""

    @property
    def content(self) -> str | None:
        return (
            self.body if self.body is None or isinstance(self.body, str) else json.dumps(self.body)
        )


def failing(
    method: str, path: str, code: int, body: Any = None, *, status: int = 400, says: str = ""
) -> Step:
    return Step(method, path, status, Failure(code), body, says)


def server_steps() -> Iterator[tuple[str, list[Step]]]:
    advanced = {"cpu_cache_capacity": COUNT, "cache_insert_data": bool, "use_blas_threshold": COUNT}
    yield (
        "The server",
        [
            Step(
                "GET", "/", 200, re.compile("Welcome to milvus"), says="the greeting as plain text"
            ),
            Step("GET", "/state", 200, {"message": "Success", "code": 0}),
            Step("GET", "/devices", 200, {"cpu": {"memory": COUNT}, "gpus": {}}, says="whole GiB"),
            Step("GET", "/config/advanced", 200, advanced),
            Step(
                "PUT",
                "/config/advanced",
                200,
                OK,
                {"cpu_cache_capacity": 1, "use_blas_threshold": 1000},
            ),
            Step(
                "GET",
                "/config/advanced",
                200,
                {**advanced, "cpu_cache_capacity": 1},
                says="GiB both ways, decided",
            ),
            failing(
                "PUT", "/config/advanced", 34, {"cpu_cache_capacity": None}, says="an explicit null"
            ),
            failing(
                "PUT",
                "/config/advanced",
                35,
                {"unheard_of": 1},
                says="unknown field: 500 in 1.x, 35 decided",
            ),
            Step("GET", "/config/gpu_resources", 404, PLAIN, says="CPU build: no mapping"),
            Step(
                "PUT",
                "/config/gpu_resources",
                404,
                PLAIN,
                {"enable": False},
                says="CPU build: no mapping",
            ),
            Step("GET", "/unheard_of", 404, PLAIN, says="four lines of plain text"),
            Step(
                "OPTIONS",
                "/collections/any/vectors",
                204,
                None,
                says="204 and CORS headers on every path",
            ),
        ],
    )
    yield (
        "System",
        [
            Step("GET", "/system/version", 200, {**OK, "reply": "1.1.1"}),
            Step("GET", "/system/status", 200, {**OK, "reply": "OK"}),
            Step("GET", "/system/mode", 200, {**OK, "reply": "CPU"}),
            Step("GET", "/system/tasktable", 200, {**OK, "reply": TEXT}),
            Step("GET", "/system/build_commit_id", 200, {**OK, "reply": TEXT}),
            Step(
                "GET",
                "/system/info",
                200,
                {**OK, "reply": re.compile(r'^{"memory_total":"\d+","memory_used":"\d+"}$')},
            ),
            Step(
                "GET",
                "/system/unheard_of",
                200,
                {**OK, "reply": "Unknown command"},
                says="still 200 and code 0",
            ),
            Step("PUT", "/system/unheard_of", 400, Failure(32), {}),
        ],
    )


def collection_steps() -> Iterator[tuple[str, list[Step]]]:
    made = {**FILMS, "count": 0}
    yield (
        "Collections",
        [
            Step("POST", "/collections", 201, OK, FLAT8),
            failing("POST", "/collections", 9, FLAT8, says="the name exists"),
            failing("POST", "/collections", 34, {"dimension": 2}),
            failing("POST", "/collections", 34, ""),
            failing("POST", "/collections", 36, "{", says="malformed: 500 in 1.x, 36 decided"),
            failing(
                "POST",
                "/collections",
                35,
                {**FLAT8, "unheard_of": 1},
                says="unknown field: 500 in 1.x, 35 decided",
            ),
            failing("POST", "/collections", 23, {**FLAT8, "metric_type": "l2"}, says="exact case"),
            failing("POST", "/collections", 7, {**FLAT8, "dimension": 32769}),
            failing("POST", "/collections", 5, {**FLAT8, "index_file_size": 0}),
            failing("POST", "/collections", 9, {**FLAT8, "collection_name": "9"}),
            Step("GET", "/collections", 200, {"collections": [made], "count": 1}),
            Step(
                "GET",
                "/collections?offset=0&page_size=0",
                200,
                {"collections": [], "count": 1},
                says="0 is legal",
            ),
            Step(
                "GET",
                "/collections?offset=5",
                200,
                {"collections": [], "count": 1},
                says="beyond the end: empty",
            ),
            Step(
                "GET",
                "/collections?all_required=True&offset=5",
                200,
                {"collections": [made], "count": 1},
            ),
            failing("GET", "/collections?page_size=x", 37, says="the text names `offset`"),
            Step("GET", "/collections/films", 200, made),
            Step("GET", "/collections/films/", 200, made, says="as without the slash"),
            Step("GET", "/collections/missing", 404, Failure(4, GONE)),
            failing("GET", "/collections/9", 9),
        ],
    )
    yield (
        "Vectors",
        [
            failing(
                "GET",
                "/collections/films/vectors?ids=1",
                4,
                status=404,
                says="a collection with no data",
            ),
            Step(
                "PUT",
                "/collections/films/vectors",
                200,
                {"num": 0, "result": []},
                search(),
                "no data",
            ),
            Step(
                "POST",
                "/collections/films/vectors",
                201,
                {"ids": ["1", "2", "3"]},
                {"vectors": NUMBERS, "ids": list("123")},
            ),
            failing(
                "POST",
                "/collections/films/vectors",
                12,
                {"vectors": NUMBERS},
                says="user ids and automatic ones mixed",
            ),
            failing("POST", "/collections/films/vectors", 12, {"vectors": NUMBERS, "ids": ["1"]}),
            failing("POST", "/collections/films/vectors", 11, {"vectors": [], "ids": []}),
            failing(
                "POST",
                "/collections/films/vectors",
                7,
                {"vectors": [[1.0]], "ids": ["4"]},
                says="wrong width",
            ),
            failing("POST", "/collections/films/vectors", 34, {"ids": ["4"]}),
            failing("POST", "/collections/films/vectors", 34, ""),
            failing("POST", "/collections/films/vectors", 35, {"vectors": NUMBERS, "ids": "4"}),
            failing("POST", "/collections/films/vectors", 36, "{", says="500 in 1.x, 36 decided"),
            failing(
                "POST",
                "/collections/films/vectors",
                1,
                {"vectors": NUMBERS[:1], "ids": ["4"], "partition_tag": "x"},
                says="1.1.1: 400",
            ),
            failing("POST", "/collections/missing/vectors", 4, {"vectors": NUMBERS}, status=404),
            Step("PUT", "/system/task", 200, OK, {"flush": {"collection_names": ["films"]}}),
            Step(
                "GET",
                "/collections/films/vectors?ids=2,9",
                200,
                {**OK, "vectors": [row("2"), {"id": "9", "vector": []}]},
            ),
            failing("GET", "/collections/films/vectors", 33),
            failing(
                "GET",
                "/collections/films/vectors?ids=" + ",".join(["1"] * 1001),
                5,
                says="1001 ids",
            ),
            failing("GET", "/collections/films/vectors?ids=1&partition_tag=x", 1),
            failing(
                "GET", "/collections/films/vectors?ids=one", 12, says="30001 in 1.x, 12 decided"
            ),
        ],
    )
    yield "Search and delete", list(search_steps())


def search(**more: Any) -> dict[str, Any]:
    return {"search": {"topk": 2, "params": {}, "vectors": [[0.1, 0.2]], **more}}


def row(number: str) -> dict[str, Any]:
    return {"id": number, "vector": NUMBERS[int(number) - 1]}


def search_steps() -> Iterator[Step]:
    path = "/collections/films/vectors"
    found = [{"id": "1", "distance": "0.000000"}, {"id": "2", "distance": "0.080000"}]
    filled = [
        {"id": "1", "distance": TEXT},
        {"id": "2", "distance": TEXT},
        {"id": "3", "distance": TEXT},
    ]
    by_id = {"search": {"topk": 2, "params": {}, "ids": ["1"]}}
    yield Step(
        "PUT",
        path,
        200,
        {"num": 1, "result": [found]},
        search(),
        "ids and distances are strings, six decimals",
    )
    yield Step("PUT", path, 200, {"num": 1, "result": [found]}, by_id, "by id")
    yield Step(
        "PUT",
        path,
        200,
        {"num": 1, "result": [[*filled, {"id": "-1", "distance": TEXT}]]},
        search(topk=4),
        "filled up",
    )
    yield Step(
        "PUT",
        path,
        200,
        {"num": 1, "result": [found]},
        search(partition_tags=["x", "_default"]),
        "the rows without a tag",
    )
    yield failing("PUT", path, 1, search(partition_tags=["x"]), says="no tag matches")
    yield failing(
        "PUT", path, 1, search(partition_tags=[".*"]), says="no pattern matches `_default`"
    )
    yield failing("PUT", path, 36, search(partition_tags="x"))
    yield failing("PUT", path, 10, search(topk=0))
    yield failing(
        "PUT",
        path,
        34,
        {"search": {"topk": 2, "vectors": NUMBERS}},
        says="`params` is needed even for FLAT",
    )
    yield failing("PUT", path, 7, search(vectors=[[1.0]]), says="wrong width")
    yield failing(
        "PUT",
        path,
        12,
        {"search": {"topk": 2, "params": {}, "ids": ["one"]}},
        says="30001 in 1.x, 12 decided",
    )
    yield failing("PUT", path, 35, {"look": {}})
    yield failing("PUT", path, 36, "{")
    yield failing("PUT", path, 34, "")
    yield failing("PUT", "/collections/missing/vectors", 4, search(), status=404)
    yield Step("PUT", path, 200, OK, {"delete": {"ids": ["9"]}}, "unknown ids are ignored")
    yield failing("PUT", path, 34, {"delete": {}})
    yield failing("PUT", path, 35, {"delete": {"ids": ["one"]}})


def part_steps() -> Iterator[tuple[str, list[Step]]]:
    path, tag = "/collections/films/partitions", {"partition_tag": "new"}
    tags = {"partitions": [{"partition_tag": "_default"}, tag], "count": 2}
    yield (
        "Partitions",
        [
            Step("POST", path, 201, OK, tag),
            failing("POST", path, 1, tag, says="a duplicate"),
            failing("POST", path, 34, {}),
            failing("POST", "/collections/missing/partitions", 4, tag, status=404),
            Step("GET", path, 200, tags),
            Step(
                "PUT",
                "/collections/films/vectors",
                200,
                {"num": 0, "result": []},
                search(partition_tags=["n.*"]),
                "a tag is a pattern",
            ),
            failing("GET", f"{path}?all_required=x", 37),
            failing("GET", "/collections/missing/partitions", 4, status=404),
            Step("DELETE", path, 204, None, tag),
            failing("DELETE", path, 9, {"partition_tag": "_default"}),
            failing("DELETE", path, 36, "{"),
        ],
    )
    path, ivf = "/collections/films/indexes", {"index_type": "IVFFLAT", "params": {"nlist": 16}}
    yield (
        "Indexes",
        [
            Step("GET", path, 200, {"index_type": "FLAT", "params": {}}),
            Step("POST", path, 201, OK, ivf, "returns after the build"),
            Step("POST", path, 201, OK, ivf, "again: nothing to do"),
            Step("GET", path, 200, ivf, "`params` is an object here"),
            Step(
                "GET",
                "/collections/films",
                200,
                {**FILMS, "index": "IVFFLAT", "index_params": '{"nlist":16}'},
                "and a string here",
            ),
            failing(
                "PUT", "/collections/films/vectors", 5, search(), says="`nprobe` is needed for IVF"
            ),
            Step(
                "PUT",
                "/collections/films/vectors",
                200,
                {"num": 1, "result": [list]},
                search(params={"nprobe": 16}),
            ),
            failing("POST", path, 8, {"index_type": "IVF", "params": {}}),
            failing("POST", path, 34, {"index_type": "FLAT"}),
            failing("POST", path, 5, {"index_type": "IVFFLAT", "params": {"nlist": 0}}),
            failing(
                "POST",
                path,
                7,
                {"index_type": "IVFPQ", "params": {"nlist": 16, "m": 3}},
                says="m does not divide 2",
            ),
            failing("POST", "/collections/missing/indexes", 4, ivf, status=404),
            Step("DELETE", path, 204, None),
            Step("DELETE", path, 204, None, says="204 also without an index"),
            failing("DELETE", "/collections/missing/indexes", 4, status=404),
        ],
    )


def segment_steps(segment: str) -> Iterator[tuple[str, list[Step]]]:
    path = "/collections/films/segments"
    rows = [row("1"), row("2"), row("3")]
    stats = {
        "partitions": [{"row_count": 3, "segments": [SEGMENT], "tag": "_default"}],
        "row_count": 3,
    }
    yield (
        "Segments",
        [
            Step("GET", "/collections/films?info=stat", 200, stats),
            Step(
                "GET",
                path,
                200,
                {**OK, "count": 1, "segments": [{**SEGMENT, "partition_tag": "_default"}]},
            ),
            Step(
                "GET",
                f"{path}?partition_tag=x",
                200,
                {**OK, "count": 0, "segments": []},
                says="an exact filter",
            ),
            failing("GET", f"{path}?offset=-1", 37),
            failing("GET", "/collections/missing/segments", 4, status=404),
            Step("GET", f"{path}/{segment}/ids", 200, {"ids": list("123"), "count": 3}),
            Step(
                "GET", f"{path}/{segment}/ids?page_size=1&offset=1", 200, {"ids": ["2"], "count": 3}
            ),
            Step("GET", f"{path}/{segment}/vectors", 200, {**OK, "count": 3, "vectors": rows}),
            failing("GET", f"{path}/1/ids", 4, status=404),
            failing("GET", f"{path}/1/vectors", 4, status=404),
            Step(
                "PUT",
                "/collections/films/vectors",
                200,
                {"num": 1, "result": [list]},
                search(file_ids=[segment]),
                "only this segment",
            ),
        ],
    )


def last_steps() -> Iterator[tuple[str, list[Step]]]:
    films, missing = {"collection_name": "films"}, {"collection_name": "missing"}
    task, config = "/system/task", "/system/config"
    yield (
        "Tasks and configuration",
        [
            Step("PUT", task, 200, OK, {"load": films}),
            Step("PUT", task, 200, OK, {"release": films}),
            Step("PUT", task, 200, OK, {"compact": films}),
            Step("PUT", task, 200, OK, {"flush": {"collection_names": []}}, "empty: all"),
            failing("PUT", task, 4, {"load": missing}, says="400, not 404, here"),
            failing("PUT", task, 34, {"load": {}}),
            failing("PUT", task, 36, {"load": {**films, "partition_tags": "x"}}),
            failing("PUT", task, 35, {"sleep": films}, says="200 and no body in 1.x, 35 decided"),
            failing("PUT", task, 34, ""),
            Step(
                "GET",
                config,
                200,
                {"cache": dict, "restart_required": False, ...: ...},
                says="sections, keys, values as text",
            ),
            Step(
                "PUT",
                config,
                200,
                {**OK, "message": TEXT, "restart_required": False},
                {"cache": {"cache_size": "2GB"}},
            ),
            failing("PUT", config, 35, {"cache": 1}),
            failing("PUT", config, 36, "{"),
            failing("PUT", config, 34, ""),
            failing("PUT", config, 1, {"cache": {"unheard_of": 1}}),
            failing("PUT", config, 5, {"cache": {"cache_size": "many"}}),
            Step("PUT", "/collections/films/vectors", 200, OK, {"delete": {"ids": ["1"]}}),
        ],
    )
    explained = {"metric": "L2", "scans": list, "rows": 3, ...: ...}
    yield (
        "Beyond 1.x",
        [
            Step("GET", "/healthz", 200, {"status": "alive"}),
            Step("GET", "/readyz", 200, {"status": "ready"}),
            Step("GET", "/collections/films/indexes/progress", 200, dict),
            Step("GET", "/collections/films/indexes/recall", 200, dict),
            Step("GET", "/metrics", 200, re.compile("^# HELP "), says="Prometheus text"),
            Step("POST", "/collections/films/explain", 200, explained, search()),
        ],
    )
    yield (
        "The end",
        [
            Step("DELETE", "/collections/films", 204, None),
            Step(
                "DELETE", "/collections/films", 404, Failure(4, "Collection films does not exist.")
            ),
        ],
    )


def allowed(expected: Any, answer: Any) -> bool:
    """Whether `answer` is what `expected` describes (see Step)."""
    if isinstance(expected, Failure):
        return (
            set(answer) == {"message", "code"}
            and answer["code"] == expected.code
            and expected.says in answer["message"]
        )
    if isinstance(expected, re.Pattern):
        return isinstance(answer, str) and expected.search(answer) is not None
    if isinstance(expected, type):
        return type(answer) is expected
    if isinstance(expected, dict) and isinstance(answer, dict):
        named = {key: value for key, value in expected.items() if key is not ...}
        exact = set(named) == set(answer) if ... not in expected else set(named) <= set(answer)
        return exact and all(allowed(value, answer[key]) for key, value in named.items())
    if isinstance(expected, list) and isinstance(answer, list):
        return len(expected) == len(answer) and all(map(allowed, expected, answer))
    return type(expected) is type(answer) and bool(expected == answer)


def asked(client: httpx.Client, step: Step) -> tuple[str, str | None]:
    """Its line of the page, and what is wrong with the answer."""
    reply = client.request(step.method, step.path, content=step.content)
    plain = not reply.headers.get("content-type", "").startswith("application/json")
    answer: Any = (reply.text or None) if plain else reply.json()
    wrong = reply.status_code != step.status or not allowed(step.answer, answer)
    if reply.headers.get("access-control-allow-origin") != "*" and not isinstance(
        step.answer, re.Pattern
    ):
        wrong = True
    request = f"`{step.method} {short(step.path)}`" + (
        f" `{short(step.content)}`" if step.content else ""
    )
    line = f"| {cell(request)} | {cell(told(step))} | {reply.status_code} {cell(code(short(reply.text)))} |\n"
    return line, f"{step}: {reply.status_code} {reply.text}" if wrong else None


def told(step: Step) -> str:
    """What the specification says of the answer, in words and JSON."""
    failure = f"code {step.answer.code}" if isinstance(step.answer, Failure) else ""
    plain = isinstance(step.answer, re.Pattern) or step.answer is None or bool(failure)
    body = failure if plain else code(short(described(step.answer)))
    return " ".join(part for part in (str(step.status), body, step.says) if part)


def described(expected: Any) -> str:
    names = {str: "text", int: "number", bool: "bool", list: "list", dict: "keys", ...: "and more"}

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {("..." if key is ... else key): plain(each) for key, each in value.items()}
        if isinstance(value, list):
            return [plain(each) for each in value]
        if isinstance(value, re.Pattern):
            return "JSON text"
        return f"<{names[value]}>" if isinstance(value, type) or value is ... else value

    return json.dumps(plain(expected), separators=(",", ":"))


def short(text: str) -> str:
    for pattern, replacement in VOLATILE:
        text = pattern.sub(replacement, text)
    text = text.rstrip("\n").replace("\n", " / ")
    return text if len(text) <= 220 else f"{text[:160]}..."


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def cell(text: str) -> str:
    return text.replace("|", r"\|").strip()


def page(client: httpx.Client) -> tuple[str, list[str]]:
    """The page, made from the answers of a server without collections, and what is wrong with them."""
    parts, wrong = [HEAD], list[str]()

    def chapter(title: str, steps: list[Step]) -> None:
        lines = [asked(client, step) for step in steps]
        parts.append(f"\n## {title}\n\n| request | specification | answer |\n|---|---|---|\n")
        parts.extend(line for line, _ in lines)
        wrong.extend(text for _, text in lines if text)

    for groups in (server_steps(), collection_steps(), part_steps()):
        for title, steps in groups:
            chapter(title, steps)
    segment = client.get("/collections/films/segments").json()["segments"][0]["name"]
    for groups in (segment_steps(segment), last_steps()):
        for title, steps in groups:
            chapter(title, steps)
    return "".join(parts), wrong


@contextmanager
def serving() -> Iterator[str]:
    """The address of `milvine serve` over an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "milvine",
            "serve",
            "--port",
            "0",
            "--http-port",
            "0",
            "--data",
            folder,
        ]
        # The default, which limited memory would make smaller.
        command += ["--set", "cache.cache_size=4GB"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            ready = server.stdout.readline()
            found = re.search(r"http (\S+),", ready)
            assert found is not None, ready
            try:
                yield f"http://{found[1]}"
            finally:
                server.terminate()


def main() -> int:
    with (
        serving() as address,
        httpx.Client(base_url=address, timeout=60, trust_env=False) as client,
    ):
        text, wrong = page(client)
    print("\n".join(wrong), file=sys.stderr)
    if "--check" in sys.argv:
        return int(bool(wrong) or text != PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(text, encoding="utf-8")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
