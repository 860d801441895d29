"""An index type that another distribution adds: found by its entry point, and good for all that a
type of our own is good for.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from milvine.errors import IllegalArgument, Unsupported
from milvine.index import registry
from milvine.index.exact import search_exact
from milvine.index.params import check_search_params
from milvine.testing.index_contract import ImageContract
from milvine.types import IndexType, MetricType

THIRD_PARTY = Path(__file__).parent / "third_party"
CODES = IndexType(2001)
KERNEL = "from milvine_codes import CodesKernel\nfrom milvine.index.spec import IndexSpec\n"


def install(folder: Path, name: str, module: str) -> None:
    """A distribution whose module and entry point are called `name`."""
    info = folder / f"{name}-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{name} = {name}\n")
    (folder / f"{name}.py").write_text(module)


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in which distributions are found, beside that of the tests."""
    monkeypatch.syspath_prepend(str(THIRD_PARTY))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    registry.forget_installed()
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


class TestCodes(ImageContract):
    index_type = CODES
    build_params = {"bits": 4}
    search_params = {"refine": 8}
    floor = {MetricType.L2: 0.97, MetricType.IP: 0.97}


def test_it_is_found_by_number_and_by_every_name() -> None:
    found = registry.spec(2001)
    assert str(CODES) == repr(CODES)[12:-1] == found.name == "CODES" and found.type is CODES
    for name in ("CODES", "2001"):
        assert registry.by_rest_name(name) is found
    assert registry.by_name("CODES") is found and found in registry.every()
    assert registry.stats_name(CODES) == registry.rest_name(CODES) == "CODES"
    assert registry.serving(2001, MetricType.IP) is found
    assert registry.serving(2001, MetricType.HAMMING) is None


@pytest.mark.parametrize(
    "module",
    [
        "SPECS = (IndexSpec(2500, 'OTHER', CodesKernel()),)",
        "def SPECS():\n    return [IndexSpec(2500, 'OTHER', CodesKernel())]",
    ],
    ids=["module", "function"],
)
def test_ways_to_give_a_spec(installed: Path, module: str) -> None:
    install(installed, "other", KERNEL + module)
    if "def" in module:
        info = installed / "other-2.0.dist-info" / "entry_points.txt"
        info.write_text(f"[{registry.GROUP}]\nother = other:SPECS\n")
    assert registry.spec(2500).name == "OTHER" and registry.spec(2001).name == "CODES"


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("import not_there", "ModuleNotFoundError: No module named 'not_there'"),
        ("x = 1", "TypeError: <module 'broken'"),
        ("SPECS = (1,)", "TypeError: 1 is no milvine.index.spec.IndexSpec"),
        (
            "SPECS = (IndexSpec(1500, 'OTHER', CodesKernel()),)",
            "ValueError: the number 1500 of OTH",
        ),
        ("SPECS = (IndexSpec(2500, 'other', CodesKernel()),)", "ValueError: the name 'other'"),
        (
            "SPECS = (IndexSpec(2500, 'OTHER', CodesKernel(), metrics=frozenset()),)",
            "ValueError: OTHER serves no metric",
        ),
    ],
)
def test_a_broken_one_is_named_when_its_type_is_asked_for(
    installed: Path, module: str, reason: str
) -> None:
    install(installed, "broken", KERNEL + module)
    assert registry.spec(2001).name == "CODES" and registry.spec(IndexType.HNSW)
    assert "CODES" in {each.name for each in registry.every()}
    with pytest.raises(Unsupported) as caught:
        registry.spec(2500)
    said = f"Entry point broken (broken) of distribution broken 2.0 cannot be used: {reason}"
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "number", "reason"),
    [
        ("2001, 'MINE'", 2001, r"codes \(milvine_codes\).*give the same number 2001"),
        ("2500, 'HNSW'", 2500, "gives a name that is taken: HNSW"),
        ("2500, 'CO_DES'", 2500, "gives a name that is taken: CODES"),
        ("2500, 'SPTAG_KDT'", 2500, "gives a name that is taken: SPTAG_KDT"),
    ],
)
def test_a_number_and_a_name_are_of_one_type(
    installed: Path, spec: str, number: int, reason: str
) -> None:
    install(installed, "second", f"{KERNEL}SPECS = (IndexSpec({spec}, CodesKernel()),)")
    with pytest.raises(Unsupported, match=reason):
        registry.spec(number)
    assert registry.spec(IndexType.HNSW).number == 11


def test_one_number_for_two_families_of_metrics(installed: Path) -> None:
    both = (
        "from milvine.index.spec import BINARY_METRICS\nSPECS = (IndexSpec(2500, 'OTHER',"
        " CodesKernel()), IndexSpec(2500, 'OTHER', CodesKernel(), metrics=BINARY_METRICS{}))"
    )
    install(installed, "other", KERNEL + both.format(""))
    assert registry.spec(2500) is not registry.spec(2500, binary=True)
    install(installed, "another", KERNEL + both.replace("2500", "2600").format(", stats_name='X'"))
    registry.forget_installed()
    with pytest.raises(Unsupported, match="number 2600 to several types"):
        registry.spec(2600)


def test_without_it_the_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(THIRD_PARTY)])
    with pytest.raises(Unsupported, match=r"2001 is of no distribution.*milvine.index_types"):
        check_search_params(2001, {}, 10)
    assert registry.rest_name(CODES) == registry.stats_name(CODES) == "2001"
    assert registry.by_rest_name("2001") is None and not registry.is_there(2001)


def test_a_recall_is_refused_where_a_type_does_not_say_what_it_depends_on() -> None:
    with pytest.raises(IllegalArgument, match="Index type CODES does not say which of its"):
        check_search_params(2001, {"recall": 0.9}, 10)
    check_search_params(2001, {"refine": 4}, 10)


def test_a_search_by_codes_is_not_the_exact_one() -> None:
    """Or the contract would hold for a kernel that does nothing."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((3000, 16)).astype(np.float32)
    index = TestCodes().index_over(vectors, MetricType.L2)
    found = index.search(vectors[:50], 50, {"refine": 1}, None)[0]
    exact = search_exact(vectors[:50], vectors, MetricType.L2, 50)[0]
    assert (found[:, 0] == 0).all() and (found >= exact).all() and (found > exact).any()
