"""The embedded database and a server give the same answers to the same life, through the same
class.
"""

from __future__ import annotations

from pathlib import Path

from milvus import Milvus
from tests.real_clients import drive


def test_embedded_answers_as_a_server_does(tmp_path: Path, server_port: int) -> None:
    remote = drive.life(Milvus(host="127.0.0.1", port=server_port))
    embedded = drive.life(Milvus(uri=(tmp_path / "data").as_uri()))
    different = {
        label: (remote[label], embedded[label])
        for label in remote
        if remote[label] != embedded[label]
    }
    assert list(remote) == list(embedded) and different == {}
