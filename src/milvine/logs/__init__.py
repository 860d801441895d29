"""Events as log lines. The engine emits events and knows no logger; this listens, and decides where
lines go.

`places.set_up_logging` is for a process that serves. A database in somebody else's process speaks
up by `embedded.speak_up`; a program that wants more of it gives `listener.log_events` a logger.
"""
