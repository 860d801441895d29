import mmap

import numpy as np
import pytest

from milvine.storage import nameless
from milvine.storage.nameless import bytes_of, nameless_file


@pytest.fixture(params=["memory", "temporary"])
def kind(request, monkeypatch):
    if request.param == "temporary":
        monkeypatch.delattr(nameless.os, "memfd_create", raising=False)


@pytest.mark.usefixtures("kind")
def test_it_holds_what_was_given_and_outlives_its_name_while_mapped():
    data = np.arange(100_000, dtype=np.uint8)
    with nameless_file(data) as path:
        assert (bytes_of(path) == data).all()
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    assert mapped[:] == data.tobytes()
    assert not path.exists()


@pytest.mark.usefixtures("kind")
def test_others_may_write_it():
    with nameless_file() as path:
        path.write_bytes(b"written")
        assert bytes_of(path).tobytes() == b"written"
