"""Small codes of a segment's rows, by which exact searches find the few rows to look at."""
