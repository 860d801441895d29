"""What every storage promises the engine, as tests to inherit.

class TestLocalFolder(StorageContract):
    def opened(self, folder: Path) -> Storage:
        return LocalStorage.made(folder / "segments")
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from milvine.errors import FolderGone, StorageFailed
from milvine.storage.base import TEMPORARY, Storage
from milvine.storage.directory import NOWHERE, identity
from milvine.storage.local_files import filled, mapped

NAME, OTHER = "rows-1.mlv", "index-2.mlv"
BYTES = np.random.default_rng(3).bytes(3 << 20)


def put(storage: Storage, name: str, data: bytes = BYTES) -> None:
    with storage.create(name) as sink:
        for start in range(0, len(data), 1 << 20):
            sink.write(memoryview(data)[start : start + (1 << 20)])


class StorageContract:
    """Subclasses say how one is opened over `folder`, which is theirs; opened again over the same,
    it has the same files.
    """

    def opened(self, folder: Path) -> Storage:
        raise NotImplementedError

    def test_what_is_written_is_read(self, tmp_path: Path) -> None:
        storage = self.opened(tmp_path)
        with storage.create(NAME) as sink:
            assert sink.position == 0
            assert sink.write(BYTES[:10]) == 10
            sink.write(np.frombuffer(BYTES[10:], np.uint8).data)
            assert sink.position == len(BYTES)
        for scattered in (False, True):
            data = storage.read(NAME, scattered)
            assert data.dtype == np.uint8 and not data.flags.writeable
            assert data.tobytes() == BYTES
        with storage.open(NAME) as file:
            assert file.seek(0, os.SEEK_END) == len(BYTES)
            file.seek(100)
            assert file.read(5) == BYTES[100:105]
        with storage.local_file(NAME) as path:
            assert path.read_bytes() == BYTES
        assert storage.size(NAME) == len(BYTES)
        assert (storage.names(), storage.sizes()) == ([NAME], {NAME: len(BYTES)})
        assert NAME in storage.shown(NAME)

    def test_a_file_has_no_name_before_it_is_whole(self, tmp_path: Path) -> None:
        storage = self.opened(tmp_path)
        with storage.create(NAME) as sink:
            sink.write(BYTES)
            assert NAME not in storage.names() and storage.size(NAME) == 0
            with pytest.raises(StorageFailed):
                storage.read(NAME)
        with storage.create_at(OTHER) as path:
            assert OTHER not in storage.names()
            path.write_bytes(BYTES)
        assert storage.names() == sorted([NAME, OTHER])

    def test_it_is_there_when_opened_again(self, tmp_path: Path) -> None:
        storage = self.opened(tmp_path)
        put(storage, NAME)
        storage.close()
        storage.close()
        assert self.opened(tmp_path).read(NAME).tobytes() == BYTES

    @pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()])
    def test_of_what_fails_nothing_remains(self, tmp_path: Path, error: BaseException) -> None:
        storage = self.opened(tmp_path)
        with pytest.raises(type(error)), storage.create(NAME) as sink:
            sink.write(BYTES)
            raise error
        with pytest.raises(type(error)), storage.create_at(NAME) as path:
            path.write_bytes(BYTES)
            raise error
        assert storage.names() == []
        put(storage, NAME)
        assert storage.read(NAME).tobytes() == BYTES

    def test_an_error_of_the_system_is_one_of_the_storage(self, tmp_path: Path) -> None:
        """Where the storage writes; where somebody else does, it is his."""
        storage = self.opened(tmp_path)
        with pytest.raises(StorageFailed, match=NAME), storage.create(NAME):
            raise OSError(5, "Input/output error")
        with pytest.raises(OSError, match="no more processes"), storage.create_at(NAME):
            raise OSError(11, "no more processes")
        assert storage.names() == []

    def test_another_process_fills_a_file(self, tmp_path: Path) -> None:
        storage = self.opened(tmp_path)
        script = "import sys; open(sys.argv[1], 'r+b').write(b'theirs')"
        with storage.create_at(NAME) as path:
            subprocess.run([sys.executable, "-c", script, str(path)], check=True)
        assert storage.read(NAME).tobytes() == b"theirs"

    def test_another_process_reads_a_file(self, tmp_path: Path) -> None:
        storage = self.opened(tmp_path)
        put(storage, NAME)
        script = "import sys, zlib; print(zlib.crc32(open(sys.argv[1], 'rb').read()))"
        outputs = []
        for _ in range(2):
            with storage.local_file(NAME) as path:
                assert mapped(path).tobytes() == BYTES
                run = [sys.executable, "-c", script, str(path)]
                outputs.append(subprocess.run(run, check=True, capture_output=True).stdout)
        assert outputs[0] == outputs[1] != b""

    def test_only_the_file_that_was_made_is_filled(self, tmp_path: Path) -> None:
        storage = self.opened(tmp_path)
        with storage.create_at(NAME) as path:
            for other in (path, path.with_name("another")):
                with pytest.raises(FolderGone), filled(other, NOWHERE):
                    pass
            with filled(path, identity(path) or NOWHERE) as sink:
                sink.write(b"ours")
        assert storage.read(NAME).tobytes() == b"ours"

    def test_what_is_not_there(self, tmp_path: Path) -> None:
        storage = self.opened(tmp_path)
        with pytest.raises(StorageFailed, match=f"Cannot read .*{NAME}"):
            storage.read(NAME)
        with pytest.raises(StorageFailed, match=f"Cannot read .*{NAME}"), storage.local_file(NAME):
            pass
        with pytest.raises(OSError, match=NAME):
            storage.open(NAME)
        assert storage.size(NAME) == 0 and storage.remove(NAME)

    def test_who_reads_keeps_what_is_removed(self, tmp_path: Path) -> None:
        storage = self.opened(tmp_path)
        put(storage, NAME)
        data, file = storage.read(NAME), storage.open(NAME)
        assert storage.remove(NAME)
        assert storage.names() == [] and storage.size(NAME) == 0
        assert data.tobytes() == BYTES
        with file:
            assert file.read(4) == BYTES[:4]
        with pytest.raises(StorageFailed):
            storage.read(NAME)

    def test_several_files_whose_names_are_made_durable_together(self, tmp_path: Path) -> None:
        storage = self.opened(tmp_path)
        with storage.names_together() as batch:
            put(batch, NAME)
            put(batch, OTHER, b"small")
            assert batch.read(NAME).tobytes() == BYTES
        assert storage.names() == sorted([NAME, OTHER])
        with storage.names_together():
            pass
        assert self.opened(tmp_path).read(OTHER).tobytes() == b"small"

    def test_many_threads_write_and_read(self, tmp_path: Path) -> None:
        storage, failed = self.opened(tmp_path), []

        def work(number: int) -> None:
            try:
                for step in range(10):
                    name = f"rows-{number * 100 + step}.mlv"
                    put(storage, name, bytes([number]) * 5000)
                    assert storage.read(name).tobytes() == bytes([number]) * 5000
                    assert name in storage.names()
                    assert step % 2 or storage.remove(name)
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == [] and len(storage.names()) == 20
        assert not any(name.endswith(TEMPORARY) for name in storage.names())

    def test_there_is_room(self, tmp_path: Path) -> None:
        self.opened(tmp_path).check_room()
