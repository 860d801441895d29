"""The wire format: bytes in, messages out, and back. Opens no socket."""
