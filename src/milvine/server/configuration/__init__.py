"""The configuration of a server: its file, what set_config keeps, what is told and changed."""
