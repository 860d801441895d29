"""Bad input for every parser and door: no crash, no hang, no memory blow-up, and the right error
each time.

    python -m milvine.testing.fuzz --minutes 5            every target, each in a process of its own
    python -m milvine.testing.fuzz --minutes 5 rpc        one of them
    python -m milvine.testing.fuzz --seed 7 --first 1234 --count 1 rpc      one case again

A case is made from (target, seed, number) alone, so that a finding is told by these three. Every
case runs in a child process that is watched: a case that takes over a minute, ends the process or
takes over 512 MiB is a finding, as is an error that the target does not expect. What was found is
kept as a test under `tests/fuzz`.
"""
