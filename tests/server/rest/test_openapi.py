"""The OpenAPI document, and requests made up from it: no answer that it does not describe, and none
with 500.

MILVINE_FUZZ_EXAMPLES=500 for a longer run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.server.operations import Operations
from milvine.server.rest.app import create_app

EXAMPLES = int(os.environ.get("MILVINE_FUZZ_EXAMPLES", "12"))
_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    settings = Settings(background=False, search_threads=1)
    with Database.open(tmp_path_factory.mktemp("openapi") / "data", settings) as database:
        yield schemathesis.openapi.from_asgi(
            "/openapi.json", create_app(Operations(database, settings), database, settings)
        )


def test_answers_are_as_described(schema: Any) -> None:
    for result in schema.get_all_operations():
        strategy = result.ok().as_strategy()

        @hypothesis.settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=EXAMPLES == 12,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(case=strategy)
        def answers(case: Any) -> None:
            case.call_and_validate(checks=_CHECKS)

        answers()


def test_every_endpoint_is_described_with_its_body(schema: Any) -> None:
    document = schema.raw_schema
    operations = {
        (method, path): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }
    assert len(operations) >= 24
    for (method, path), operation in operations.items():
        assert operation["description"] and operation["tags"], path
        assert "422" not in operation["responses"]
        needs_body = method in ("post", "put") or (
            method == "delete" and path.endswith("partitions")
        )
        assert ("requestBody" in operation) == needs_body, path
    schemas = document["components"]["schemas"]
    for name in (
        "NewCollection",
        "NewIndex",
        "PartitionTag",
        "NewRows",
        "RowsTask",
        "SystemTask",
        "Hits",
        "Status",
    ):
        assert schemas[name]["examples"], name


def test_every_answer_in_json_has_an_example(schema: Any) -> None:
    document = schema.raw_schema
    schemas = document["components"]["schemas"]

    def exemplified(part: Any) -> bool:
        """Itself, or what it is made of."""
        named = re.findall(r"#/components/schemas/(\w+)", str(part))
        return "example" in str(part) or any(exemplified(schemas[name]) for name in named)

    lacking = [
        (method, path, code)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        for code, answer in operation["responses"].items()
        if (content := answer.get("content", {}).get("application/json"))
        and not exemplified(content)
    ]
    assert lacking == []
