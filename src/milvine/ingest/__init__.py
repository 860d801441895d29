"""The write path: check, log, sync, apply, publish, answer. `writer` sequences it."""
