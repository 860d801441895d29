"""python -m milvine.testing.fuzz"""

import sys

from milvine.testing.fuzz.command import main

if __name__ == "__main__":
    sys.exit(main())
