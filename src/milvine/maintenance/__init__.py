"""What happens behind the requests: automatic flush, merge, compact, index builds, removal of
files.
"""
