"""One run: data sets, a scratch folder, the race, the results."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from milvine.bench.plan import KINDS, Plan
from milvine.bench.race import Race
from milvine.bench.results import Results
from milvine.bench.vectors import Dataset


def measure(sets: Iterable[Dataset], plan: Plan, work: Path) -> Results:
    """Every set after the other; `work` is where the databases lie meanwhile, all on the
    same disk.
    """
    results = Results({**asdict(plan), "entries": [entry.name for entry in plan.entries]})
    work.mkdir(parents=True, exist_ok=True)
    for data in sets:
        folder = Path(tempfile.mkdtemp(dir=work))
        try:
            Race(data, plan, folder, results.add).run([KINDS[name] for name in plan.kinds])
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return results
