"""For tests of Milvine and of what is built on it: a model database, a stateful machine, the crash
harness.
"""
