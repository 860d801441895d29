"""`python -m milvine`."""

import os
import sys

# `-m` puts the current folder first. A server lives long, and others may write
# to where it was started.
if sys.path[0] == os.getcwd() and not __file__.startswith(os.path.join(sys.path[0], "")):
    del sys.path[0]

from milvine.cli import main

if __name__ == "__main__":
    main()
