"""Every key: what it takes, what it refuses, and how it says so."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milvine.cli.configuration import configure
from milvine.config import ALL, BY_NAME, KEYS, Key, Settings, as_text, default_text, parse_size
from milvine.config.sources import FILE
from milvine.errors import IllegalArgument
from milvine.redaction import as_shown, secret_parameters

TEMPLATE = Path(__file__).with_name("server_config.yaml")

_BAD: dict[str, tuple[str, ...]] = {
    "cluster.role": ("", "readonly"),
    "storage.auto_flush_interval": ("3601",),
    "general.timezone": ("UTC+15", "UTC+8:60", "GMT", "+8", "Europe/Berlin"),
    "general.meta_uri": (
        "",
        "mysql://u:p@h:1/db",
        "postgresql://u:p@h",
        "postgres://u:p@h/db",
        "sqlite:///a.db",
    ),
    "network.bind.address": ("", "256.1.1.1", "1.2.3", "a b", "http://x"),
    "network.http.address": ("256.1.1.1", "-"),
    "index.codes": ("on", "true", ""),
    "network.door": ("", "http"),
    "network.lane_port": ("", "on", "0", "1e4", "-1", "auto 1"),
    "network.http.cors_origins": ("a.example", "https://a/", "*,https://a", "https://a,"),
    "network.http.receive_seconds": ("0",),
    "storage.path": ("", "data", "./data", "/a\nb"),
    "storage.s3_address": ("a b",),
    "storage.s3_port": ("0", "65536"),
    "wal.path": ("wal", "./wal"),
    "cache.cpu_cache_threshold": ("0", "1", "x", "nan"),
    "cache.preload_collection": ("a,a", "a b", "*,a", "a,,b", "é"),
    "gpu.enable": ("true", "maybe"),
    "fpga.enable": ("on",),
    "gpu.build_index_devices": ("gpu0 gpu1",),
    "gpu.search_devices": ("", "gpu", "gpu0,gpu0", "cpu0"),
    "fpga.search_devices": ("gpu0",),
    "logs.level": ("", "trace", "verbose"),
    "logs.max_log_file_size": ("511MB", "4097MB", "512"),
    "logs.log_rotate_num": ("-1", "1025", "1.5"),
    "logs.format": ("xml",),
    "logs.path": ("logs",),
    "metric.address": ("", "1.2.3.400"),
    "metric.recall_sample_share": ("-0.1", "1.1", "nan"),
    "engine_config.simd_type": ("avx",),
    "engine_config.omp_thread_num": ("-1", str((os.cpu_count() or 1) + 1), "x"),
    "tracing_config.otlp_endpoint": ("collector:4318", "ftp://x"),
}
_BAD_BY_PARSER = {
    "parse_bool": ("maybe", "2", "truee"),
    "parse_size": ("", "4 GB", "4TB", "4.5GB", "-1", "4bb", "lots"),
    "size.<locals>.parse": ("", "0", "4 GB", "4TB", "-1MB"),
    "clamped_size.<locals>.<lambda>": ("", "x", "-1"),
    "number.<locals>.parse": ("", "-1", "x", "nan", "inf"),
    "whole.<locals>.parse": ("", "-1", "1.5", "x", "99999999999999999999"),
    "share": ("0", "1", "x"),
    "threads": ("-1", "x"),
    "text": ("a\x00b", "a\nb"),
    "path_or_none": ("relative", "/a\tb"),
}


def bad_values(key: Key) -> tuple[str, ...]:
    ports = (
        ("80", "1024", "65535")
        if key.name.endswith("port") and key.name != "storage.s3_port"
        else ()
    )
    return _BAD.get(key.name, ()) + _BAD_BY_PARSER.get(key.parse.__qualname__, ()) + ports


def test_the_template_of_1x_is_read_as_it_is() -> None:
    found = configure(file=TEMPLATE, environment={})
    assert [
        notice for notice in found.notices if "Accepted" not in notice and "memory" not in notice
    ] == []
    accepted = next(notice for notice in found.notices if "Accepted" in notice)
    assert accepted.count("gpu.") == 5
    given_here = found.values["network.bind.address"]
    assert (given_here.parsed, given_here.origin.kind, given_here.origin.where) == (
        "0.0.0.0",
        FILE,
        f"{TEMPLATE}:19",
    )
    told = found.settings
    assert (told.log_level, told.log_path, told.wal_path) == (
        "debug",
        "/var/lib/milvus/logs",
        "/var/lib/milvus/wal",
    )
    assert (told.cache_size, told.insert_buffer_size, told.preload_collection) == (
        4 << 30,
        1 << 30,
        (),
    )
    assert found.values["gpu.search_devices"].text == "gpu0"


@pytest.mark.parametrize("key", ALL, ids=lambda key: key.name)
def test_defaults_are_values(key: Key) -> None:
    default = default_text(key)
    if key.name != "storage.path":  # relative to where the server is started
        key.parse(key.name, default)
    assert len(key.meaning) < 60


@pytest.mark.parametrize("key", ALL, ids=lambda key: key.name)
def test_bad_values_are_refused_with_key_value_and_range(key: Key) -> None:
    assert bad_values(key), "no bad value is known for this key"
    for value in (*bad_values(key), {"deeper": "1"}):
        with pytest.raises(IllegalArgument) as error:
            key.parse(key.name, value)
        assert str(error.value).startswith(f"Invalid {key.name}: ")
        assert "\n" not in str(error.value) and "\x00" not in str(error.value)
        if isinstance(value, str):
            shown = as_shown(key.name, value)
            assert shown in str(error.value) or repr(shown) in str(error.value) or "://" in value


@pytest.mark.parametrize(
    ("name", "value", "parsed"),
    [("cache.cache_size", "4gb", 4 << 30), ("cache.cache_size", "1024", 1024),
     ("cache.cache_size", 7, 7),
     ("cache.cache_size", "3K", 3072), ("wal.buffer_size", "1mb", 64 << 20),
     ("wal.buffer_size", "9GB", 4 << 30),
     ("wal.enable", "OFF", False), ("wal.enable", None, False), ("wal.enable", True, True),
     ("wal.enable", 1, True),
     ("general.timezone", "UTC-3:30", "UTC-3:30"), ("network.bind.address", "::1", "::1"),
     ("network.bind.address", "localhost", "localhost"),
     ("cache.preload_collection", ["a", "b"], ("a", "b")),
     ("cache.preload_collection", "*", ("*",)), ("cache.preload_collection", None, ()),
     ("logs.path", "", None),
     ("storage.auto_flush_interval", "0.5", 0.5), ("logs.level", "INFO", "info"),
     ("gpu.enable", "no", False)],
)  # fmt: skip
def test_values(name: str, value: object, parsed: Any) -> None:
    found = BY_NAME[name].parse(name, value)
    assert (found, type(found)) == (parsed, type(parsed))


@given(
    st.one_of(
        st.text(max_size=20),
        st.integers(),
        st.floats(),
        st.none(),
        st.lists(st.text(max_size=3), max_size=3),
    )
)
@settings(max_examples=60, deadline=None)
def test_a_value_is_taken_or_refused_and_nothing_else(value: object) -> None:
    for key in ALL:
        try:
            key.parse(key.name, value)
        except IllegalArgument as error:
            assert str(error).startswith(f"Invalid {key.name}: ")


@given(st.integers(1, 1 << 50))
@settings(max_examples=50, deadline=None)
def test_sizes_are_told_as_they_are_read(size: int) -> None:
    told = as_text(Settings(cache_size=size))["cache.cache_size"]
    assert parse_size("cache.cache_size", told) == size


def test_fields_and_keys() -> None:
    assert len({key.name for key in ALL}) == len(ALL)
    assert len(KEYS) == len([key for key in ALL if key.field])
    assert Settings(address="1.2.3.4").http_address == "1.2.3.4"
    assert Settings(http_bind="1.2.3.5").http_address == "1.2.3.5"


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("sqlite://:@:/", "sqlite://:@:/"),
        ("postgresql://u:s3cret@h:5432/db", "postgresql://u:***@h:5432/db"),
        (
            "postgresql+psycopg://u:s3c@cret@h/db?sslmode=require",
            "postgresql+psycopg://u:***@h/db?sslmode=require",
        ),
        (
            "postgresql:///db?host=/run&password=s3cret&user=u",
            "postgresql:///db?host=/run&password=***&user=u",
        ),
        ("postgresql://u@h/db", "postgresql://u@h/db"),
        (
            "postgresql://h/db?sslpassword=s3cret&sslkey=/k.pem",
            "postgresql://h/db?sslpassword=***&sslkey=/k.pem",
        ),
        ("postgresql://h/db?%73slpassword=s3cret", "postgresql://h/db?%73slpassword=***"),
        (
            "postgresql://h/db?scram_client_key=s3cret&new=s3",
            "postgresql://h/db?scram_client_key=***&new=***",
        ),
        ("postgresql://u:s3c?ret@h/db?sslmode=require", "postgresql://u:***@h/db?sslmode=require"),
    ],
)
def test_the_catalog_is_told_without_its_password(uri: str, told: str) -> None:
    key = BY_NAME["general.meta_uri"]
    assert key.parse(key.name, uri) == uri
    assert as_shown(key.name, uri) == told
    assert as_text(Settings(meta_uri=uri))[key.name] == told
    assert "s3c" not in repr(Settings(meta_uri=uri))


@pytest.mark.parametrize(
    "uri",
    ["postgresql://u:s3cret@h", "postgres://u:s3cret@h/db", "mysql://u:s3cret@h/db",
     "host=h password=s3cret",
     "postgres://h/db?sslpassword=s3cret", "postgresql://u:s3\ncret@h/db"],
)  # fmt: skip
def test_a_refused_catalog_is_told_without_its_password(uri: str) -> None:
    with pytest.raises(IllegalArgument) as error:
        BY_NAME["general.meta_uri"].parse("general.meta_uri", uri)
    assert "s3c" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://s3cret@collector:4318", "https://***@collector:4318"),
        ("https://u:s3cret@collector/v1?api-key=s3cret", "https://***@collector/v1?api-key=***"),
        ("http://collector:4318/v1/traces", "http://collector:4318/v1/traces"),
    ],
)
def test_so_is_the_collector_of_traces(url: str, told: str) -> None:
    assert as_shown("tracing_config.otlp_endpoint", url) == told
    assert "s3cret" not in repr(Settings(trace_endpoint=url))


def test_keys_that_are_secrets_are_never_told() -> None:
    for name in ("storage.s3_access_key", "storage.s3_secret_key"):
        assert (as_shown(name, "s3cret"), as_shown(name, "")) == ("***", "")
        with pytest.raises(IllegalArgument) as error:
            BY_NAME[name].parse(name, "s3cret\n!")
        assert "s3cret" not in str(error.value)


def test_passwords_of_libpq_are_hidden_whatever_their_name() -> None:
    """Whoever adds a parameter to the list of harmless ones must look at it: libpq marks those that
    are secret.
    """
    psycopg = pytest.importorskip("psycopg")
    marked = {
        each.keyword.decode()
        for each in psycopg.pq.Conninfo.get_defaults()
        if each.dispchar == b"*"
    }
    secrets = {each: f"the value of {each}" for each in marked}
    assert marked and set(secret_parameters(dict(secrets))) == set(secrets.values())
