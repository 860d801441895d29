"""`milvine serve` as it is, save that SIGUSR1 makes it tell the stacks of all its threads on standard error."""

from __future__ import annotations

import faulthandler
import signal

from milvine.cli import main

if __name__ == "__main__":
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    main()
