"""What a database holds while it is open: the state of each collection with its unflushed rows, and
the stores that all jobs share. Only the writer thread changes it: see `stores`.
"""
