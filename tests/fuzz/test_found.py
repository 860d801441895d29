"""What the targets found, each once more."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from milvine.catalog.definition_files import read_definitions
from milvine.engine.database import Database
from milvine.errors import CorruptFile
from milvine.events.server import RequestFailed
from milvine.logs.formatting import line
from milvine.offline.backup import backup
from milvine.offline.repair import repair
from milvine.offline.restore import restore
from milvine.offline.verify import verify
from milvine.segment.component import ComponentFile
from milvine.segment.layout import MAGIC, TRAILER
from milvine.server.operations import Operations
from milvine.server.security.tokens import TokensUnusable, create, read_tokens
from milvine.storage.checksum import crc32c
from milvine.testing.fuzz.logs import frames_of, resealed, write_log
from milvine.testing.fuzz.ops import SETTINGS
from milvine.types import MetricType
from milvine.wal.record import FILE_HEADER
from milvine.wal.replay import Replay
from milvine.wire import schema


def log_of(folder: Path) -> list[Path]:
    folder.mkdir()
    write_log(folder)
    return sorted(folder.iterdir())


def test_a_damaged_head_of_the_last_log_file_does_not_lose_its_records(tmp_path: Path) -> None:
    last = log_of(tmp_path / "log")[-1]
    data = bytearray(last.read_bytes())
    assert frames_of(bytes(data))
    data[17] ^= 1
    last.write_bytes(data)
    with pytest.raises(CorruptFile, match="is damaged at byte 0"):
        list(Replay(last.parent, 0))
    assert last.read_bytes() == data


def test_a_log_file_that_never_held_a_record_is_removed_with_its_torn_head(tmp_path: Path) -> None:
    paths = log_of(tmp_path / "log")
    torn = paths[-1].with_name(f"{len(paths) + 1:016d}.wal")
    for data in (b"", b"MILV", bytes(FILE_HEADER.size), bytes(4096)):
        torn.write_bytes(data)
        assert len(list(Replay(torn.parent, 0))) == 24
        assert not torn.exists()


def test_ignoring_damage_drops_what_comes_after_it_and_not_what_was_before(tmp_path: Path) -> None:
    paths = log_of(tmp_path / "log")
    first = len(frames_of(paths[0].read_bytes()))
    paths[1].write_bytes(b"x" * 32 + paths[1].read_bytes()[32:])
    assert [lsn for lsn, _ in Replay(paths[0].parent, 0, ignore_errors=True)] == list(
        range(1, first + 1)
    )


def test_files_of_other_names_are_no_log(tmp_path: Path) -> None:
    paths = log_of(tmp_path / "log")
    paths[0].with_name("notes.wal").write_bytes(b"x")
    assert len(list(Replay(paths[0].parent, 0))) == 24


def test_frames_whose_counts_lie_are_damage(tmp_path: Path) -> None:
    path = log_of(tmp_path / "log")[0]
    data = path.read_bytes()
    for number in range(60):
        path.write_bytes(resealed(Random(number), data))
        with suppress(CorruptFile):
            list(Replay(path.parent, 0))


def component(footer: Any, body: bytes = b"x" * 4096) -> np.ndarray[Any, Any]:
    text = footer if isinstance(footer, bytes) else json.dumps(footer).encode()
    body = MAGIC + body
    return np.frombuffer(body + text + TRAILER.pack(len(text), crc32c(text), 1, MAGIC), np.uint8)


def entry(**changed: Any) -> dict[str, Any]:
    sections = {"ids": [64, 80], "vectors": [192, 160], "lsn_starts": [384, 4], "lsns": [448, 8]}
    whole = {
        "id": 1,
        "rows": 10,
        "collection": {"id": 1},
        "partition": {"id": 1, "tag": ""},
        "sections": sections,
    }
    return {**whole, "lsn_range": [1, 1], "id_range": [-5, 9], "replaces": [], **changed}


def test_an_honest_footer_is_taken() -> None:
    file = ComponentFile(
        "rows-1.mlv", component({"kind": "rows", "segments": [entry()], "crcs": [1]})
    )
    assert file.span(1, "ids") == (64, 80)


@pytest.mark.parametrize(
    "footer",
    [
        *(
            b"[" * 100_000,
            b"null",
            b"{}",
            b"\xff",
            b'{"segments":[],"crcs":7}',
            b'{"segments":{},"crcs":[1]}',
        ),
        *(
            {"segments": [], "crcs": []},
            {"segments": [], "crcs": [1, 2]},
            {"segments": [], "crcs": [-1]},
        ),
        *({"segments": [7], "crcs": [1]}, {"segments": [{"id": 1}], "crcs": [1]}),
        *(
            {"kind": "rows", "segments": [changed], "crcs": [1]}
            for changed in (
                *(
                    entry(id="1"),
                    entry(id=-1),
                    entry(id=True),
                    entry(rows=11),
                    entry(rows=None),
                    entry(rows=1 << 63),
                ),
                *(
                    entry(id_range=[1]),
                    entry(lsn_range=[1, None]),
                    entry(collection=1),
                    entry(partition={"id": "x"}),
                ),
                *(
                    entry(sections=[]),
                    entry(sections={"ids": [0, 1 << 62]}),
                    entry(sections={"ids": [-8, 80]}),
                ),
                *(
                    entry(sections={"ids": [4096, 80]}),
                    entry(sections={"ids": [64]}),
                    entry(sections={"ids": 1}),
                ),
                *(
                    entry(sections={"vectors": [64, 15]}),
                    entry(sections={"lsns": [64, 8]}),
                    {"id": 1, "sections": {}},
                ),
            )
        ),
    ],
    ids=str,
)
def test_lying_footers_are_corrupt_files(footer: Any) -> None:
    with pytest.raises(CorruptFile, match=r"^rows-1\.mlv is damaged at byte"):
        ComponentFile("rows-1.mlv", component(footer))


@pytest.mark.parametrize(
    "header",
    [
        *(
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4),",
            "[" * 9000,
            "(" * 500,
            "{" * 200,
            "'a' * 9999999",
        ),
        *(
            "{'descr': '<f4', 'fortran_order': 1, 'shape': (3, 4)}",
            "{'descr': 'O', 'fortran_order': False, 'shape': (3,)}",
        ),
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 4)}",
        "{'descr': 'V0', 'fortran_order': False, 'shape': (3, 4)}",
        "{'descr': [('a', '<f4', (4,))], 'fortran_order': False, 'shape': (3, -1)}",
    ],
    ids=lambda header: header[:60],
)
@pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning", "ignore::SyntaxWarning"
)
def test_npy_files_that_lie_are_unparsable(header: str) -> None:
    bulk, errors = (
        pytest.importorskip("milvine.server.rest.bulk"),
        pytest.importorskip("milvine.server.rest.errors"),
    )
    for version in (1, 2):
        size = len(header).to_bytes(2 * version, "little")
        raw = bytearray(b"\x93NUMPY" + bytes((version, 0)) + size + header.encode() + bytes(48))
        with pytest.raises(errors.BodyUnparsable, match="no npy file"):
            bulk.array_of_npy(raw)


def test_arrow_offsets_outside_the_body_are_refused() -> None:
    arrow, errors = (
        pytest.importorskip("pyarrow"),
        pytest.importorskip("milvine.server.rest.errors"),
    )
    bulk = pytest.importorskip("milvine.server.rest.bulk")
    marks = np.array([0, 4, 8, 12], np.int32)
    lists = arrow.ListArray.from_arrays(arrow.array(marks), arrow.array(np.ones(12, np.float32)))
    out = arrow.BufferOutputStream()
    table = arrow.table({"vector": lists})
    with arrow.ipc.new_stream(out, table.schema) as stream:
        stream.write_table(table)
    honest = bytes(out.getvalue())
    assert bulk.columns_of_arrow(bytearray(honest))[0].shape == (3, 4)
    for lie in (
        [0, 4, 8, 1 << 30],
        [1 << 30, (1 << 30) + 4, (1 << 30) + 8, (1 << 30) + 12],
        [-4, 0, 4, 8],
        [8, 4, 0, -4],
    ):
        lying = honest.replace(marks.tobytes(), np.array(lie, np.int32).tobytes())
        assert lying != honest
        with pytest.raises(errors.BodyUnparsable, match="no Arrow IPC stream"):
            bulk.columns_of_arrow(bytearray(lying))


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
@pytest.mark.parametrize("dictionary", [False, True])
def test_compressed_arrow_bodies_are_refused_before_they_grow(codec: str, dictionary: bool) -> None:
    arrow, errors = (
        pytest.importorskip("pyarrow"),
        pytest.importorskip("milvine.server.rest.errors"),
    )
    bulk = pytest.importorskip("milvine.server.rest.bulk")
    values = arrow.array(np.zeros(1 << 20, np.float32))
    column = (
        values.dictionary_encode()
        if dictionary
        else arrow.FixedSizeListArray.from_arrays(values, 4)
    )
    table = arrow.table({"vector": column})
    for compression in (None, codec):
        out = arrow.BufferOutputStream()
        options = arrow.ipc.IpcWriteOptions(compression=compression)
        with arrow.ipc.new_stream(out, table.schema, options=options) as stream:
            stream.write_table(table)
        if compression:
            with pytest.raises(errors.BodyUnparsable, match="it is compressed"):
                bulk.columns_of_arrow(bytearray(out.getvalue()))
        elif not dictionary:
            assert bulk.columns_of_arrow(bytearray(out.getvalue()))[0].shape == (1 << 18, 4)


@pytest.mark.parametrize(
    "said",
    ["[" * 500 + "]" * 500, "1e999", "-" + "9" * 400, '"' + "y" * 70_000 + '"'],
    ids=lambda said: said[:24],
)
def test_index_parameters_that_others_could_not_read_are_not_stored(
    said: str, tmp_path: Path
) -> None:
    with Database.open(tmp_path / "db", SETTINGS) as database:
        database.create_collection("c", 4, 1, MetricType.L2)
        pairs = [schema.KeyValuePair(key="params", value=f'{{"nlist":4,"x":{said}}}')]
        request = schema.IndexParam(
            collection_name="c", index_type=2, extra_params=pairs
        ).SerializeToString()
        reply = schema.Status.FromString(
            Operations(database, SETTINGS).call("CreateIndex", request)
        )
        assert reply.error_code == 5 and reply.reason.startswith("The index parameters ")
        assert database.collection("c").definition.index.params_json == "{}"


@pytest.mark.parametrize(
    "said",
    ["[" * 100_000, '{"milvine_format": 1e999}', '{"milvine_format": "٣x"}', "NaN", "\0", '"'],
)
def test_a_format_file_of_nonsense_is_corrupt(said: str, tmp_path: Path) -> None:
    Database.open(tmp_path / "db", SETTINGS).close()
    (tmp_path / "db" / "FORMAT").write_text(said)
    with pytest.raises(CorruptFile, match="FORMAT is damaged at byte 0: it says no format"):
        Database.open(tmp_path / "db", SETTINGS)


def test_definitions_of_nonsense_are_damaged(tmp_path: Path) -> None:
    for number, said in enumerate(("[" * 100_000, "null", '{"body":[],"crc32c":0}', "\0"), 1):
        (tmp_path / f"collection-{number}.json").write_text(said)
    found, damaged = read_definitions(tmp_path)
    assert (found, sorted(damaged)) == ([], [1, 2, 3, 4])


@pytest.mark.parametrize("number", ["[]", "{}", "null"])
def test_a_file_of_tokens_of_nonsense_lets_nobody_in(number: str, tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    create(file, "me", "read")
    file.write_text(re.sub('"id": *"[^"]*"', f'"id": {number}', file.read_text()))
    with pytest.raises(TokensUnusable, match="is no file of tokens"):
        read_tokens(file)
    file.write_text("[" * 100_000)
    with pytest.raises(TokensUnusable, match="is no file of tokens: RecursionError"):
        read_tokens(file)


def test_a_name_cannot_write_lines_of_its_own_into_the_log() -> None:
    told = line(RequestFailed("Insert", "a\r\nb\x1b[2Jc\u2028d\u202ee\tf\x85é", ""))
    assert told.splitlines() == [told]
    assert r"a\r\nb\x1b[2Jc\u2028d\u202ee\tf\x85é" in told


def test_a_log_of_an_older_format_is_no_damage(tmp_path: Path) -> None:
    db = Database.open(tmp_path / "db", SETTINGS)
    db.create_collection("c", 4, 1, MetricType.L2)
    db.collection("c").insert(np.ones((3, 4), np.float32), np.arange(3))
    shutil.copytree(tmp_path / "db", tmp_path / "copy", ignore=shutil.ignore_patterns("*-shm"))
    db.close()
    log = sorted((tmp_path / "copy" / "wal").iterdir())[-1]
    data = bytearray(log.read_bytes())
    data[8:12] = (1).to_bytes(4, "little")
    log.write_bytes(data)
    assert [str(finding) for finding in verify(tmp_path / "copy").findings if finding.damage] == []


@pytest.mark.parametrize(
    "changed",
    [
        {"name": 5},
        {"name": ["FORMAT"]},
        {"name": "../x"},
        {"name": "FORMAT\n"},
        {"bytes": -1},
        {"bytes": True},
        {"mark": 1e9},
    ],
    ids=str,
)
def test_a_manifest_that_lies_is_a_corrupt_file(changed: dict[str, Any], tmp_path: Path) -> None:
    Database.open(tmp_path / "db", SETTINGS).close()
    made = Path(backup(tmp_path / "db", tmp_path / "backups").folder)
    held = json.loads((made / "MANIFEST.json").read_text())
    held["body"]["files"][0].update(changed)
    held["crc32c"] = crc32c(
        json.dumps(held["body"], sort_keys=True, separators=(",", ":")).encode()
    )
    (made / "MANIFEST.json").write_text(json.dumps(held))
    with pytest.raises(CorruptFile, match="MANIFEST.json is damaged at byte 0"):
        restore(made, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backups", "db"]


def test_a_footer_that_puts_the_lsns_elsewhere_is_damage_for_readers_and_for_repair(
    tmp_path: Path,
) -> None:
    with Database.open(tmp_path / "db", SETTINGS) as db:
        db.create_collection("c", 4, 1, MetricType.L2)
        for start in (0, 10):
            db.collection("c").insert(np.ones((10, 4), np.float32), np.arange(start, start + 10))
    path = next((tmp_path / "db" / "segments").glob("rows-*"))
    data = path.read_bytes()
    start = len(data) - TRAILER.size
    length, _, version, magic = TRAILER.unpack(data[start:])
    footer = json.loads(data[start - length : start])
    sections = footer["segments"][0]["sections"]
    sections["lsn_starts"], sections["lsns"] = (
        [sections["vectors"][0], 8],
        [sections["vectors"][0], 16],
    )
    said = json.dumps(footer).encode()
    path.write_bytes(
        data[: start - length] + said + TRAILER.pack(len(said), crc32c(said), version, magic)
    )
    with Database.open(tmp_path / "db", SETTINGS) as db:
        name = db.collection("c").stats().partitions[0].segments[0].name
        with pytest.raises(CorruptFile, match="the LSNs are of other rows"):
            db.collection("c").segment_ids(name)
    assert any(finding.damage for finding in verify(tmp_path / "db").findings)
    repair(tmp_path / "db", dry_run=False)
    assert not any(finding.damage for finding in verify(tmp_path / "db").findings)
