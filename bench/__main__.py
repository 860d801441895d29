"""`python -m bench [recall | ingest | batch | reopen | footprint | all]`."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module

ENVIRONMENT_LEFT_OUT = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # they make every figure about another machine
FLOAT_SETS, BINARY_SETS = ["wordnet", "glove"], ["molfp", "molfp_hamming"]
MEASUREMENTS = ("ingest", "batch", "reopen", "footprint", "recall")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Milvine beside raw faiss on real data.")
    parser.add_argument("what", nargs="?", default="all", choices=(*MEASUREMENTS, "all"))
    parser.add_argument(
        "--sets",
        nargs="+",
        help="wordnet, glove, glove_ip, molfp, molfp_jaccard, molfp_hamming, clustered; default: by measurement",
    )
    parser.add_argument("--doors", nargs="+", default=["server", "embedded"], choices=("server", "embedded"))
    parser.add_argument(
        "--types", nargs="+", help="FLAT IVF_FLAT IVF_SQ8 IVF_SQ8H IVF_PQ HNSW RNSG ANNOY; default: what fits"
    )
    parser.add_argument("--rows", type=int, help="only the first rows of each set")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of raw faiss and of a search")
    parser.add_argument("--rounds", type=int, default=7, help="of whatever takes turns; medians are reported")
    parser.add_argument("--batch-rows", type=int, default=20_000, help="rows of one insert while loading")
    parser.add_argument("--batches", type=int, nargs="+", default=[5_000, 20_000], help="rows of one insert in ingest")
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 4], help="unanswered inserts in ingest")
    return parser.parse_args()


def _in_plain_environment() -> None:
    """Start again without the variables that bend BLAS; numpy and faiss read them when they load."""
    if any(name in os.environ for name in ENVIRONMENT_LEFT_OUT):
        plain = {k: v for k, v in os.environ.items() if k not in ENVIRONMENT_LEFT_OUT}
        os.execve(sys.executable, [sys.executable, "-m", "bench", *sys.argv[1:]], plain)


def main() -> None:
    options = _options()
    _in_plain_environment()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # both sides share the cores: waiting threads must not spin
    chosen = options.sets
    for name in MEASUREMENTS if options.what == "all" else (options.what,):
        options.sets = chosen or (FLOAT_SETS + BINARY_SETS if name == "recall" else FLOAT_SETS)
        import_module(f"bench.{name}").measure(options)


if __name__ == "__main__":
    main()
