"""What tests of Milvine and of things built on it are made of: a model database, a stateful machine, the crash harness."""
