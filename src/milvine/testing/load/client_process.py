"""One process of clients, each a thread with a connection of its own; started by `__main__.py`."""

from __future__ import annotations

import faulthandler
import json
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np

from milvine.testing.load.clients import Client
from milvine.testing.load.journal import Acknowledged
from milvine.testing.load.plan import Plan


def main(arguments: list[str]) -> int:
    """`PLAN WORK PORT NUMBER`: runs the clients whose number modulo the processes is NUMBER."""
    plan, work, port, number = (
        Plan.from_json(arguments[0]),
        Path(arguments[1]),
        int(arguments[2]),
        int(arguments[3]),
    )
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    beats = np.memmap(work / "beats", np.float64, "r+")
    acknowledged = Acknowledged(work)
    clients = [
        Client(role, plan, work, port, acknowledged, beats)
        for role in plan.roles[number :: plan.processes]
    ]
    print("ready", flush=True)
    sys.stdin.readline()
    until = time.time() + plan.seconds
    threads = [
        threading.Thread(target=client.run, args=(until,), name=client.role) for client in clients
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results = [
        {"role": c.role, "rows": c.rows, "problem": c.problem, "seconds": c.seconds}
        for c in clients
    ]
    (work / f"clients{number}.json").write_text(json.dumps(results), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
