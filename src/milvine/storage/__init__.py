"""Bytes by name: durable files in a local folder, the folder's lock and its format version."""
