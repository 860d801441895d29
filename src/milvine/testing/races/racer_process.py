"""One process of callers, with names of its own; started by `running.py`."""

from __future__ import annotations

import faulthandler
import json
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from milvine.client.milvus import Milvus
from milvine.testing.races.lives import Lives
from milvine.testing.races.racers import Definer, Racer
from milvine.testing.races.shapes import SHAPES, distinct_in_json


def main(arguments: list[str]) -> int:
    """`WORK NUMBER CLIENT SECONDS SEED NAMES THREADS`: CLIENT is JSON, the
    arguments of `Milvus`."""
    work, number, client = Path(arguments[0]), int(arguments[1]), json.loads(arguments[2])
    seconds, seed, names, threads = (
        float(arguments[3]),
        int(arguments[4]),
        int(arguments[5]),
        int(arguments[6]),
    )
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    faulthandler.enable()
    shapes = distinct_in_json(SHAPES) if client.get("handler") == "HTTP" else SHAPES
    lives = Lives([f"race{number}{letter}" for letter in "abcdefgh"[:names]], shapes)
    others = [f"{kind}{n}" for n in range(threads) for kind in ("writer", "reader")] + ["builder0"]
    racers = [Racer(role, seed, lives, Milvus(**client)) for role in others]
    racers += [Definer(f"definer{n}", seed, lives, Milvus(**client)) for n in range(names)]
    print("ready", flush=True)
    _run(racers, seconds)
    results: dict[str, Any] = {
        "calls": sum((racer.calls for racer in racers), Counter()),
        "problems": [racer.problem for racer in racers if racer.problem],
    }
    if not results["problems"]:
        results["collections"] = lives.expected()
    (work / f"racers{number}.json").write_text(json.dumps(results), encoding="utf-8")
    return 0


def _run(racers: list[Racer], seconds: float) -> None:
    """Definers end first, so that there is something in the collections that
    are there at the end."""
    now = time.monotonic()
    threads = [
        threading.Thread(
            target=racer.run,
            args=(now + seconds * (0.8 if isinstance(racer, Definer) else 1),),
            name=racer.role,
        )
        for racer in racers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
