"""Every storage keeps the contract, and a local one what is its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from milvine.errors import DiskFull, FolderGone, StorageFailed
from milvine.storage import durable, failpoints
from milvine.storage.base import Storage
from milvine.storage.local import LocalStorage
from milvine.testing.object_storage import Bucket, ObjectStorage
from milvine.testing.storage_contract import NAME, StorageContract, put


class TestLocalFolderMapped(StorageContract):
    def opened(self, folder: Path) -> Storage:
        return LocalStorage.made(folder / "segments")


class TestLocalFolderInMemory(StorageContract):
    def opened(self, folder: Path) -> Storage:
        return LocalStorage.made(folder / "segments", use_mmap=False)


class TestObjects(StorageContract):
    buckets: dict[Path, Bucket] = {}

    def opened(self, folder: Path) -> Storage:
        return ObjectStorage(self.buckets.setdefault(folder, Bucket()), folder)


def test_which_folder_is_mapped(tmp_path: Path) -> None:
    assert LocalStorage(tmp_path).mapped_folder == tmp_path
    assert LocalStorage(tmp_path, use_mmap=False).mapped_folder is None


def test_in_a_folder_that_was_replaced_nothing_is_given_by_path(tmp_path: Path) -> None:
    folder = tmp_path / "segments"
    storage = LocalStorage.made(folder)
    put(storage, NAME)
    folder.rename(tmp_path / "moved")
    folder.mkdir()
    with pytest.raises(FolderGone), storage.local_file(NAME):
        pass
    with pytest.raises(FolderGone), storage.create_at("index-1.mlv"):
        pass
    assert [*folder.iterdir()] == [] and storage.names() == [NAME]


@pytest.mark.parametrize("place", ["file.create", "file.rename", "file.renamed"])
def test_of_a_file_by_path_that_the_disk_refuses_nothing_remains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    storage = LocalStorage(tmp_path)

    def refuse() -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setitem(failpoints.armed, place, refuse)
    with pytest.raises(StorageFailed, match="Input/output error"), storage.create_at(NAME) as path:
        path.write_bytes(b"whole")
    assert storage.names() == []


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "free_and_total", lambda folder: (3 << 20, 1 << 30))
    with pytest.raises(DiskFull, match="the folder of segments .* is full: 3 MB are free"):
        LocalStorage(tmp_path).check_room()
