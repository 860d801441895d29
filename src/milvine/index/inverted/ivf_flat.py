"""IVF_FLAT: lists of the vectors themselves, or of small codes where these find the same sooner."""

from __future__ import annotations

from typing import Any

from milvine.index.base import BuildJob
from milvine.index.image import Image, write_image
from milvine.index.inverted.coded import OpenCoded, coded, serves
from milvine.index.inverted.ivf import NLIST, NPROBE, IvfKernel, OpenIvf, Shape
from milvine.index.inverted.ivf_sizes import IvfSizes, PackedSizes, lists
from milvine.index.inverted.lists import ROW_BYTES, Lists, buffer_rows
from milvine.index.inverted.trial import AT_A_TIME
from milvine.index.native import faiss
from milvine.index.spec import IndexInput, IndexSpec, Sizes
from milvine.limits import MIB
from milvine.types import Bytes, Ids, MetricType


def _make(quantizer: Any, shape: Shape) -> Any:
    return faiss.IndexIVFFlat(quantizer, shape.dimension, shape.nlist, shape.metric)


class FlatKernel(IvfKernel):
    def _written_otherwise(self, job: BuildJob, nodes: Ids, index: Any, lists: Lists) -> bool:
        over = IndexInput(len(job.vectors), job.vectors.shape[1], job.metric, job.params)
        if not job.codes or not serves(len(nodes), over.dimension):
            return False
        if job.memory and _CODED.building(over, job.memory) > job.memory:
            return False
        found = coded(job, nodes, index, lists)
        if found is None:
            return False
        job.report("writing", 0)
        write_image(
            job.write,
            len(job.vectors),
            found.index.ntotal,
            found.index,
            groups=found.groups,
            table=found.candidates.table,
        )
        return True

    def _opened(self, image: Image, flat: Bytes, metric: MetricType) -> OpenIvf:
        if image.table is None:
            return super()._opened(image, flat, metric)
        return OpenCoded(image, flat, metric, self, image.table)


class PlainListSizes(IvfSizes):
    exact = True

    def code(self, of: IndexInput) -> int:
        return of.row_bytes


class CodedListSizes(PackedSizes):
    """The lists are learnt as those of the plain form are; then codes are made, all in memory."""

    exact = True

    def code(self, of: IndexInput) -> int:
        return -(-of.dimension // 2)

    def stored(self, of: IndexInput, memory: int) -> int:
        code, rows = self.code(of), of.rows
        filling = min(rows, buffer_rows(code, rows, memory)) * (code + ROW_BYTES) + _CODING_BYTES
        measuring = _MEASURED_LIST_BYTES * lists(of) + _MEASURED_ROW_BYTES * rows + _MEASURING_BYTES
        return super().stored(of, memory) + _LIST_AGAIN_BYTES * rows + max(filling, measuring)


_LIST_AGAIN_BYTES = 4
"""The list of each row once more, where rows have copies: one of these is in a list."""
_MEASURED_ROW_BYTES = 24
"""What a row stands for, which rows there are, and its place among candidates."""
_MEASURED_LIST_BYTES = AT_A_TIME * (8 + 4)
"""Its number and its distance, for each query."""
_MEASURING_BYTES = 32 * MIB
"""Samples with their hits and candidates, and products with all rows."""
_CODING_BYTES = 4 * MIB
"""Rows at a time, and what is compared of them."""
_PLAIN, _CODED = PlainListSizes(), CodedListSizes()


class FlatListSizes(Sizes):
    """Of the form that a segment usually gets. A build that has no memory for codes makes the plain
    form.
    """

    def image(self, of: IndexInput) -> int:
        return self._usual(of).image(of)

    def opened(self, of: IndexInput) -> int:
        return self._usual(of).opened(of)

    def read(self, of: IndexInput) -> int:
        return self._usual(of).read(of)

    def building(self, of: IndexInput, memory: int = 0) -> int:
        usual = self._usual(of).building(of, memory)
        return usual if not memory or usual <= memory else _PLAIN.building(of, memory)

    @staticmethod
    def _usual(of: IndexInput) -> Sizes:
        return _CODED if serves(of.rows, of.dimension) else _PLAIN


SPECS = (
    IndexSpec(
        number=2,
        name="IVF_FLAT",
        kernel=FlatKernel(_make, exact=True),
        build=(NLIST,),
        search=(NPROBE,),
        breadth=NPROBE.breadth(),
        sizes=FlatListSizes(),
        other_names=("IVFLAT",),
    ),
)
