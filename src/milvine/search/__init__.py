"""The read path: prepare a search of a version, scan, reduce. `prepared` sequences it; nothing here
takes a lock.
"""
