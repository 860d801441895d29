"""The port for lanes: the short calls of our own client, answered without another thread."""
