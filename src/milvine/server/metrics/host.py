"""What a scrape reads from the system: processors, memory, network, temperature, connections."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import psutil
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

_SAMPLE_SECONDS = 0.5
"""Rates are about at least so long: two readers at once get the same numbers."""
_NOTHING: dict[str, float] = {}


class HostCollector:
    """Rates are since the sample before. Connections to `ports` count."""

    def __init__(self, ports: frozenset[int]) -> None:
        self._ports = ports
        self._process = psutil.Process()
        self._lock = threading.Lock()
        self._last = _Sample.take(self._process)
        self._rates: dict[str, float] = _NOTHING
        self._cores: list[float] = [0.0] * len(self._last.cores)

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            self._sample()
            rates, cores = self._rates, self._cores
        yield _labelled("CPU_usage_percent", "Of one core, may pass 100", "CPU", _cpu(rates, cores))
        memory = psutil.virtual_memory()
        yield _one(
            "RAM_usage_percent",
            "Resident memory in percent of the host's",
            self._process.memory_percent(),
        )
        yield _one("memory_usage_percent", "Memory of the host in use", memory.percent)
        yield _one("memory_usage_total", "Memory of the host in use, bytes", memory.used)
        yield _labelled(
            "CPU_temperature",
            "Mean of the cores, NaN without a sensor",
            "CPU",
            {"0": _temperature()},
        )
        octets = {"inoctets": rates.get("in", 0.0), "outoctets": rates.get("out", 0.0)}
        yield _labelled("octets_bytes_per_second", "Network of the host", "type", octets)
        yield _one("connection_number", "Open connections of clients", self._connections())

    def _sample(self) -> None:
        if time.monotonic() - self._last.when < _SAMPLE_SECONDS:
            return
        now, before = _Sample.take(self._process), self._last
        seconds = now.when - before.when
        self._rates = {
            "cpu": (now.process - before.process) / seconds * 100,
            "in": (now.received - before.received) / seconds,
            "out": (now.sent - before.sent) / seconds,
        }
        self._cores = [_share(new, old) for new, old in zip(now.cores, before.cores, strict=False)]
        self._last = now

    def _connections(self) -> float:
        """Established connections to our ports; NaN where the system does not tell."""
        try:
            found = (
                self._process.net_connections("tcp")
                if hasattr(self._process, "net_connections")
                else []
            )
        except (psutil.Error, OSError):
            return float("nan")
        ports = self._ports
        return sum(
            1
            for c in found
            if c.status == psutil.CONN_ESTABLISHED and c.laddr and c.laddr.port in ports
        )


class _Sample:
    """Running totals at one moment, in seconds and bytes. `cores`: (busy, all) of each."""

    def __init__(
        self, process: float, cores: list[tuple[float, float]], received: int, sent: int
    ) -> None:
        self.when = time.monotonic()
        self.process, self.cores, self.received, self.sent = process, cores, received, sent

    @classmethod
    def take(cls, process: Any) -> _Sample:
        used, network = process.cpu_times(), psutil.net_io_counters()
        received, sent = (network.bytes_recv, network.bytes_sent) if network else (0, 0)
        return cls(
            used.user + used.system,
            [_busy(core) for core in psutil.cpu_times(percpu=True)],
            received,
            sent,
        )


def _busy(core: Any) -> tuple[float, float]:
    total = sum(core)
    return total - core.idle - getattr(core, "iowait", 0.0), total


def _share(new: tuple[float, float], old: tuple[float, float]) -> float:
    total = new[1] - old[1]
    return max(0.0, (new[0] - old[0]) / total * 100) if total > 0 else 0.0


def _cpu(rates: dict[str, float], cores: list[float]) -> dict[str, float]:
    return {"avg": rates.get("cpu", 0.0)} | {
        str(number): share for number, share in enumerate(cores)
    }


def _temperature() -> float:
    """Mean of the core sensors in degrees Celsius, NaN when there is none."""
    sensors: Any = getattr(psutil, "sensors_temperatures", dict)
    values = list(_core_temperatures(sensors()))
    return sum(values) / len(values) if values else float("nan")


def _core_temperatures(sensors: dict[str, Any]) -> Iterator[float]:
    for name in ("coretemp", "k10temp", "cpu_thermal"):
        if sensors.get(name):
            yield from (each.current for each in sensors[name] if each.current is not None)
            return


def _one(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _labelled(name: str, text: str, label: str, values: dict[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family
