#!/usr/bin/env bash
# faiss.omp_set_num_threads holds for the thread that calls it, not for the process.
#
# It sets a variable that OpenMP keeps for each thread, and a new thread starts from the environment
# again, not from what its maker had set. `faiss.omp_set_num_threads(1)` at the start of a program
# that then searches from a pool of threads, as servers do, therefore changes nothing: each worker
# starts a team of a thread per core, and the teams fight for the cores. In a notebook or a
# benchmark, which search where the setting was made, all is as it was meant.
#
# It matters to us because searches run in threads of ours and of our callers: the number is to be
# set where the kernel is called, and a caller's own is to be put back.
set -euo pipefail
cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT
python3 -m venv venv
venv/bin/python -m pip --quiet --disable-pip-version-check install \
    faiss-cpu==1.15.1 numpy==2.4.6 packaging==26.4
cat > look.py <<'PY'
import sys
from concurrent.futures import ThreadPoolExecutor

import faiss

print("faiss", faiss.__version__)
default = faiss.omp_get_max_threads()
faiss.omp_set_num_threads(default + 5)
with ThreadPoolExecutor(1) as pool:
    there = pool.submit(faiss.omp_get_max_threads).result()
    pool.submit(faiss.omp_set_num_threads, default + 9).result()
    again = pool.submit(faiss.omp_get_max_threads).result()
here = faiss.omp_get_max_threads()
print(f"default {default}; set here to {default + 5}: a pool's thread has {there}")
print(f"set there to {default + 9}: there {again}, here {here}")
as_described = (there, again, here) == (default, default + 9, default + 5)
sys.exit(None if as_described else "this has changed")
PY
venv/bin/python look.py
