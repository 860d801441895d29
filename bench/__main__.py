"""`python -m bench [search | peers | guard | ... | all]`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from importlib import import_module

# With these set, every figure would be about another machine.
ENVIRONMENT_LEFT_OUT = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
FLOAT_SETS, BINARY_SETS = ["wordnet", "glove"], ["molfp", "molfp_hamming"]
OLDER = ("ingest", "batch", "reopen", "footprint", "recall")  # have tables of their own
# Raw faiss and the embedded database in one process: waiting threads must not spin.
BESIDE_RAW = (*OLDER, "threads")
EVERYTHING = ("search", "deletes", "builds", "sustained", "limited", "latency", *OLDER)  # of `all`
MEASUREMENTS = (*EVERYTHING, "scale", "threads", "lanes", "peers", "guard")


def options_of(arguments: list[str]) -> argparse.Namespace:
    """The command line, with defaults that suit most measurements."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Milvine beside raw faiss on real data."
    )
    parser.add_argument("what", nargs="?", default="all", choices=(*MEASUREMENTS, "all"))
    parser.add_argument(
        "--sets",
        nargs="+",
        help=(
            "wordnet, glove, glove_ip, molfp, molfp_jaccard, molfp_hamming, clustered or"
            " clustered:ROWS; default: by measurement"
        ),
    )
    parser.add_argument("--rows", type=int, help="only the first rows of each set")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count() or 1, help="of raw faiss and of a search"
    )
    parser.add_argument(
        "--rounds", type=int, default=7, help="of whatever takes turns; medians are reported"
    )
    races = parser.add_argument_group("search, scale, threads, peers, guard, limited")
    races.add_argument(
        "--kinds", nargs="+", choices=("HNSW", "IVF_FLAT", "exact"), help="default: all"
    )
    races.add_argument(
        "--contenders", nargs="+", metavar="NAME", help="default: all; raw faiss always takes part"
    )
    races.add_argument("--seconds", type=float, default=2.0, help="of each measurement in a round")
    races.add_argument(
        "--no-curve", action="store_true", help="leave out what only the picture needs"
    )
    races.add_argument("--record", action="store_true", help="guard: write bench/guard.json anew")
    others = parser.add_argument_group("the others")
    others.add_argument(
        "--doors", nargs="+", default=["server", "embedded"], choices=("server", "embedded")
    )
    others.add_argument(
        "--types",
        nargs="+",
        help="FLAT IVF_FLAT IVF_SQ8 ... as IndexType names them; default: what fits",
    )
    others.add_argument(
        "--batch-rows", type=int, default=20_000, help="rows of one insert while loading"
    )
    others.add_argument(
        "--batches",
        type=int,
        nargs="+",
        default=[5_000, 20_000],
        help="rows of one insert in ingest",
    )
    others.add_argument(
        "--in-flight", type=int, nargs="+", default=[1, 4], help="unanswered inserts in ingest"
    )
    return parser.parse_args(arguments)


def main() -> None:
    options = options_of(sys.argv[1:])
    # Numpy and faiss, which read them, are loaded by what follows.
    for name in ENVIRONMENT_LEFT_OUT:
        os.environ.pop(name, None)
    # By way of every `finally`, which ends servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chosen = options.sets
    for name in EVERYTHING if options.what == "all" else (options.what,):
        if name in BESIDE_RAW:
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        module = import_module(f"bench.{name}")
        usual = FLOAT_SETS + BINARY_SETS if name == "recall" else FLOAT_SETS
        options.sets = chosen or getattr(module, "SETS", usual)
        module.measure(options)


if __name__ == "__main__":
    main()
