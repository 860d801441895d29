"""`python -m milvine`."""

from milvine.cli import main

if __name__ == "__main__":
    main()
