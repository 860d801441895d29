"""Masked values, and elements whose own code raises, are told by position and value
(specification 5.5).
"""

from __future__ import annotations

import signal
import subprocess
import sys
from types import FrameType
from typing import Any

import numpy as np
import numpy.ma  # where nobody imports it, nothing can be masked
import pytest

from milvine.client import checks
from milvus import ParamError

HIDDEN = np.ma.array([1.0, 2.0], mask=[False, True])
HIDDEN_ID = np.ma.array(5, mask=True)
MASKED = "values of it are masked, which stand for missing ones"


class OfTheProgram(Exception):
    """A class that nothing of ours raises."""


class Raises:
    """An id, a number and a text that cannot be had."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __index__(self) -> int:
        raise self._error

    def __repr__(self) -> str:
        raise self._error


@pytest.mark.parametrize(
    ("rows", "where"),
    [
        ([[1.0, 2.0], HIDDEN], "row 1"),
        ((HIDDEN, np.array([1.0, 2.0])), "row 0"),
        ([np.array([1.0, 2.0]), HIDDEN.astype(np.float32)], "row 1"),
        ([[1.0, 2.0], [3.0, np.ma.masked]], "row 1, number 1"),
        (([1.0, 2.0], (np.ma.masked, 3.0)), "row 1, number 0"),
        ([[1e300, np.ma.masked]], "row 0, number 1"),
        ([b"ab", np.ma.array([1, 2], dtype=np.uint8, mask=[True, False])], "row 1"),
        ([[np.ma.array(1.0, mask=True), float("nan")]], "row 0, number 0"),
    ],
)
def test_masked_rows(rows: Any, where: str) -> None:
    with pytest.raises(ParamError) as caught:
        checks.vectors(rows)
    assert str(caught.value) == f"Invalid vector: {where}: {MASKED}"


def test_rows_of_which_nothing_is_masked() -> None:
    whole = np.ma.array([1.0, 2.0], mask=[False, False])
    for rows in ([whole, [3.0, 4.0]], [[whole[0], 2.0], [3.0, 4.0]]):
        assert checks.vectors(rows).tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert np.isnan(checks.vectors([[float("nan"), 1.0]])[0, 0])


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        ([1, HIDDEN_ID], "element 1 is masked_array"),
        ([*range(2, 100), np.ma.masked], "element 98 is masked"),
        ([np.ma.masked, 3], "element 0 is masked (MaskedConstant): a masked value stands for"),
        (np.array([4, HIDDEN_ID], dtype=object), "element 1 is masked"),
        (np.ma.masked_equal([1, 2, 3], 2), "element 1 is masked"),
        ([1, 2, 1.5], "element 2 is 1.5 (float): ids are whole numbers"),
        ([1, True], "element 1 is True (bool): ids are whole numbers"),
        (["1", np.str_("x")], "element 1 is np.str_('x') (str_): ids are whole numbers"),
        ([7, -1], "element 1 is -1, an id is from 0"),
        ([7, 2**63], f"element 1 is {2**63} (int): an id is from 0"),
        (np.array([1, 2**63], dtype=np.uint64), f"element 1 is {2**63}, an id is from 0"),
        (
            [0, Raises(OfTheProgram("no"))],
            "of type Raises: ids are whole numbers, and its __index_",
        ),
        ([*range(50), Raises(ValueError("no"))], "element 50 is of type Raises: ids are whole"),
        ([0, Raises(OSError("no"))], "its __index__ raises OSError('no')"),
        (["1" * 200, None], f"element 0 is '{'1' * 99}... (str): an id is from 0"),
    ],
)
def test_ids_that_are_none(ids: Any, reason: str) -> None:
    with pytest.raises(ParamError) as caught:
        checks.ids(ids)
    told = str(caught.value)
    assert told.startswith("`ids` value ") and reason in told


def test_texts_of_numpy_are_texts() -> None:
    for ids in ([np.str_("0"), np.str_("7")], ["0", np.str_("7")], np.array(["0", "7"])):
        assert checks.ids(ids).tolist() == [0, 7]
    assert checks.ids([np.ma.array(0), 7]).tolist() == [0, 7]


def test_numpy_ma_is_not_loaded_to_find_out() -> None:
    if int(np.__version__.split(".")[0]) < 2:
        pytest.skip("numpy itself loads it")
    code = (
        "import sys\nfrom milvine.client import checks\nchecks.ids(['1'])\n"
        "checks.vectors([[1.0, float('nan')]])\nsys.exit('numpy.ma' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def out_of_time() -> float:
    """Where the handler of a signal is called."""
    signal.raise_signal(signal.SIGUSR1)
    return 1.0


class Slow:
    """A column, a number or an id that takes its time."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(out_of_time())

    def __float__(self) -> float:
        return out_of_time()

    def __index__(self) -> int:
        return int(out_of_time())


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no such signals here")
@pytest.mark.parametrize("error", [TimeoutError, ValueError, TypeError, OfTheProgram])
@pytest.mark.parametrize(
    ("check", "value"),
    [
        (checks.ids, Slow()),
        (checks.ids, [Slow()]),
        (checks.ids, ["1", *[Slow()] * 50]),
        (checks.vectors, Slow()),
        (checks.vectors, [Slow()]),
        (checks.vectors, [[1.0, Slow()]]),
    ],
)
def test_an_interrupt_is_no_wrong_argument(check: Any, value: Any, error: type[Exception]) -> None:
    """Whatever its class, it is for the caller."""

    def handler(number: int, frame: FrameType | None) -> None:
        raise error("out of time")

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(error, match="^out of time$") as caught:
            check(value)
        assert type(caught.value) is error
    finally:
        signal.signal(signal.SIGUSR1, before)
