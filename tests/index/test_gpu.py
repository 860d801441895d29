"""IVF_SQ8H: its coarse half goes to a GPU where faiss can use one, and the answers are those of the
CPU.
"""

import numpy as np
import pytest

from milvine.index.inverted import gpu
from milvine.index.native import faiss
from milvine.index.registry import kernel
from milvine.testing.index_contract import built, clustered, flat_image
from milvine.types import IndexType, MetricType, RowMask

BUILD, SEARCH = {"nlist": 32}, {"nprobe": 8}


class FakeGpu:
    """What a GPU build of faiss offers, over a copy on the CPU; notes what is asked of it."""

    def __init__(self, monkeypatch, count=1):
        self.searched, self.moved = [], 0
        monkeypatch.setattr(faiss, "get_num_gpus", lambda: count, raising=False)
        monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
        monkeypatch.setattr(faiss, "index_cpu_to_gpu", self.move, raising=False)
        gpu.resources.cache_clear()

    def move(self, resources, device, index):
        self.moved += 1
        copy, searched = faiss.clone_index(index), self.searched
        if not index.ntotal:
            return copy  # for training, where faiss itself calls it

        class OnGpu:
            def search(self, queries, count):
                searched.append(count)
                return copy.search(queries, count)

        return OnGpu()


@pytest.fixture(autouse=True)
def _resources_are_looked_up_anew():
    yield
    gpu.resources.cache_clear()


def answers(index_type, metric, mask=None):
    vectors, queries = clustered()
    opened = kernel(index_type).open(
        built(index_type, vectors, metric, BUILD), flat_image(vectors, metric), metric
    )
    return opened.search(queries, 10, SEARCH, mask)


@pytest.mark.parametrize("metric", [MetricType.L2, MetricType.IP])
def test_the_coarse_half_runs_on_the_gpu(monkeypatch, metric):
    mask = RowMask.from_bool(np.arange(len(clustered()[0])) % 3 > 0)
    expected = [answers(IndexType.IVF_SQ8, metric, each) for each in (None, mask)]
    fake = FakeGpu(monkeypatch)
    for each, (distances, rows) in zip((None, mask), expected, strict=True):
        found = answers(IndexType.IVF_SQ8H, metric, each)
        assert np.allclose(found[0], distances, rtol=1e-5) and (found[1] == rows).mean() > 0.99
    assert fake.searched == [8, 8] and fake.moved == 4  # training and searching, twice


def test_more_lists_than_a_gpu_selects_are_chosen_on_the_cpu(monkeypatch):
    fake = FakeGpu(monkeypatch)
    monkeypatch.setattr(gpu, "LISTS_MAX", 4)
    assert (answers(IndexType.IVF_SQ8H, MetricType.L2)[1] >= 0).all()
    assert fake.searched == []


def test_other_types_stay_on_the_cpu(monkeypatch):
    fake = FakeGpu(monkeypatch)
    answers(IndexType.IVF_SQ8, MetricType.L2)
    assert fake.moved == 0


@pytest.mark.parametrize("count", [0, None])
def test_without_a_gpu_everything_is_on_the_cpu(monkeypatch, count):
    if count is None:
        monkeypatch.delattr(faiss, "StandardGpuResources", raising=False)
        gpu.resources.cache_clear()
    else:
        FakeGpu(monkeypatch, count)
    assert gpu.on_gpu(faiss.IndexFlatL2(4)) is None
    a, b = (answers(each, MetricType.L2) for each in (IndexType.IVF_SQ8, IndexType.IVF_SQ8H))
    assert (a[0] == b[0]).all() and (a[1] == b[1]).all()
