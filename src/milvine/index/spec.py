"""What there is to know of an index type: one `IndexSpec`, in the file of its kernel.

All else asks it: the checks of parameters, the doors that write names, sizing, statistics, the
builder. `milvine.index.registry` finds the specs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from milvine.errors import IllegalArgument, IllegalDimension
from milvine.index.base import Kernel, Params
from milvine.types import Bytes, Ids, IndexType, MetricType

FLOAT_METRICS = frozenset({MetricType.L2, MetricType.IP})
BINARY_METRICS = frozenset(metric for metric in MetricType if metric.is_binary)

INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1

_JSON_NAMES = {
    type(None): "null",
    bool: "boolean",
    str: "string",
    list: "array",
    tuple: "array",
    dict: "object",
}


def integer(params: object, key: str, default: int | None = None) -> int:
    """The value of `key`, truncated to an integer.

    Raises:
        IllegalArgument: it is missing and there is no default, or it is no number.
    """
    if not isinstance(params, (dict, Mapping)) or key not in params:
        if default is None:
            raise IllegalArgument(f"Parameter list must contain: {key}")
        return default
    value: Any = params[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        name = _JSON_NAMES.get(type(value), "object")
        raise IllegalArgument(
            f"Invalid {key}: [json.exception.type_error.302] type must be number, but is {name}"
        )
    try:
        return int(value)
    except (ValueError, OverflowError):  # NaN and infinity, which JSON proper cannot say
        raise IllegalArgument(f"Invalid {key} value: {value}") from None


class Parameter(Protocol):
    """One parameter of a type, a whole number."""

    @property
    def key(self) -> str: ...

    def check(self, params: object, bound: int) -> None:
        """Refuse a value that may not be.

        Args:
            params: the decoded JSON value, of any kind.
            bound: the dimension of the collection for a build parameter, topk for one of a search.

        Raises:
            IllegalArgument: it is missing, no number or out of range.
            IllegalDimension: it does not fit the dimension.
        """


Hide: TypeAlias = Callable[[Bytes, int, Ids], object]
"""Takes the links to some rows, (n,) by number, out of the image of an index over so many rows of a
segment, in place.
"""


def found_by_position(data: Bytes, rows: int, hidden: Ids) -> None:
    """No row leads to its neighbours: what is found depends on where the query lies alone."""


@dataclass(frozen=True, slots=True)
class Breadth:
    """The search parameter by which a type trades time for recall: a search may ask for a recall
    in its place.

    Attributes:
        key: its name; it is among the search parameters of the type.
        least, most: the values that are tried and chosen, both included.
        per_hit: the index takes so many for each hit that is wanted, where the value is less.
        beside: the other search parameters where a recall is asked for, by name.
        hide: of a type in which rows lead to their neighbours. A row that is searched for would
            find its own with ease, and tell more than is true of any other query.
    """

    key: str
    least: int
    most: int
    per_hit: int = 0
    beside: Mapping[str, int] = field(default_factory=dict)
    hide: Hide = found_by_position


@dataclass(frozen=True, slots=True)
class Range:
    """A parameter between two bounds, both included.

    One with a default may be left out. So may an optional one, which then does nothing.
    `from_topk`: a search parameter that is at least topk.
    """

    key: str
    least: int
    most: int
    default: int | None = None
    optional: bool = False
    from_topk: bool = False

    def check(self, params: object, bound: int) -> None:
        if self.optional and not (isinstance(params, Mapping) and self.key in params):
            return
        value = integer(params, self.key, self.default)
        least = bound if self.from_topk else self.least
        if not least <= value <= self.most:
            raise IllegalArgument(
                f"Invalid {self.key} value: {value}. Valid range is [{least}, {self.most}]"
            )

    def breadth(self, hide: Hide = found_by_position, per_hit: int = 0, **beside: int) -> Breadth:
        """Itself as what a recall is asked for in place of."""
        return Breadth(self.key, self.least, self.most, per_hit, beside, hide)


REFINE, _REFINE_MAX = "refine", 1000
MAY_REFINE = Range(REFINE, 1, _REFINE_MAX, optional=True)
"""So many candidates for each wanted hit are compared with the vectors, where a search asks."""


def refining(default: int) -> Range:
    """The same for a type that always compares candidates: `default` where a search does not say
    how many.
    """
    return Range(REFINE, 1, _REFINE_MAX, default)


def required(dimension: int) -> None:
    """No default: the parameter has to be there."""


@dataclass(frozen=True, slots=True)
class Divisor:
    """A build parameter that divides the dimension. `default` makes one of the dimension."""

    key: str
    default: Callable[[int], int | None] = required

    def value(self, params: object, dimension: int) -> int:
        """The number for a collection of this dimension.

        Raises:
            IllegalArgument: it is missing where there is no default, no number, or not positive:
                0 killed the server of 1.x.
            IllegalDimension: it does not divide the dimension.
        """
        value = integer(params, self.key, self.default(dimension))
        if value <= 0:
            raise IllegalArgument(f"Invalid {self.key} value: {value}")
        if dimension % value:
            raise IllegalDimension(
                f"Invalid collection dimension, dimension can not be divided by {self.key}"
            )
        return value

    def check(self, params: object, bound: int) -> None:
        self.value(params, bound)


@dataclass(frozen=True, slots=True)
class IndexInput:
    """The rows of a segment that an index is built over, with its build parameters: what sizes
    are computed from.
    """

    rows: int
    dimension: int
    metric: MetricType
    params: Params

    @property
    def row_bytes(self) -> int:
        """Of a vector."""
        return self.metric.width(self.dimension) * self.metric.dtype.itemsize

    @property
    def bytes(self) -> int:
        """Of all vectors."""
        return self.rows * self.row_bytes


class Sizes:
    """How large an index is, by arithmetic; all in bytes.

    Allocated bytes are the process's own. Mapped ones are pages of files: the system gives them up
    and reads them again. What stands here is right for an index that holds its rows once more, is
    searched where it is mapped, and is made in memory; a type has its own where that is not so.
    """

    def image(self, of: IndexInput) -> int:
        """What `Kernel.build` writes."""
        return of.bytes

    def opened(self, of: IndexInput) -> int:
        """Allocated for an open index."""
        return 0

    def searching(self, of: IndexInput) -> int:
        """Allocated by each thread that searches."""
        return 0

    def read(self, of: IndexInput) -> int:
        """Mapped and read by searches as a matter of course."""
        return self.image(of)

    def building(self, of: IndexInput, memory: int = 0) -> int:
        """Allocated by `Kernel.build` at its peak.

        The rows are mapped. A type may make do with less where only `memory` bytes may be used
        (0: any number); what comes back is more than that where it cannot. Background builds wait
        until so much is free.
        """
        return self.image(of)


def nothing_more() -> None:
    """A kernel that needs no library beside those that Milvine always has."""


@dataclass(frozen=True, eq=False)
class IndexSpec:
    """One index type over vectors of one family, float or binary.

    Attributes:
        number: on the wire and in stored definitions, for ever. 1 to 12 are those of Milvus 1.x,
            from 1001 on Milvine's, from 2001 to 2^31 - 1 of whoever adds types beside it.
        name: as `IndexType` prints it, in capitals.
        kernel: builds and opens.
        metrics: that it serves, of one family or both.
        build, search: its parameters, in the order of their checks. Unknown keys are allowed.
        sizes: how large it is.
        breadth: which of its search parameters a recall is asked for in place of; None: it cannot
            be asked for.
        other_names: by which 1.x clients may call it, too.
        rest_name: in the RESTful API and in `milvine sizing`; by default the name without
            underscores.
        stats_name: in statistics; by default as in the RESTful API.
        require: raises `Unsupported` where a library is missing that the kernel needs. It is called
            before the kernel is used.
    """

    number: int
    name: str
    kernel: Kernel
    metrics: frozenset[MetricType] = FLOAT_METRICS
    build: tuple[Parameter, ...] = ()
    search: tuple[Parameter, ...] = ()
    sizes: Sizes = field(default_factory=Sizes)
    breadth: Breadth | None = None
    other_names: tuple[str, ...] = ()
    rest_name: str = ""
    stats_name: str = ""
    require: Callable[[], object] = nothing_more

    def __post_init__(self) -> None:
        rest_name = self.rest_name or self.name.replace("_", "")
        object.__setattr__(self, "rest_name", rest_name)
        object.__setattr__(self, "stats_name", self.stats_name or rest_name)

    @property
    def type(self) -> IndexType:
        return IndexType(self.number)

    def serves(self, family: MetricType) -> bool:
        """Whether it takes vectors of the family, float or binary, that a metric belongs to."""
        return any(metric.is_binary == family.is_binary for metric in self.metrics)

    def check_build(self, params: object, dimension: int) -> None:
        """Refuse parameters that `create_index` may not store.

        Args:
            params: the decoded JSON value, of any kind; unknown keys are allowed.
            dimension: of the collection, at least 1.

        Raises:
            IllegalArgument: a parameter is missing, no number or out of range.
            IllegalDimension: one that must divide the dimension does not.
        """
        for each in self.build:
            each.check(params, dimension)

    def check_search(self, params: object, topk: int) -> None:
        """Refuse search parameters that do not fit. `topk` is at least 1.

        Raises:
            IllegalArgument: a parameter is missing, no number or out of range.
        """
        for each in self.search:
            each.check(params, topk)
