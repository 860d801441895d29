"""What exists: collections, partitions, segments. The only commit point of the database."""
