"""The write path: validate, log, sync, apply, answer; then flush. `writer` sequences it."""
