"""The read path: pin a version, plan, scan, reduce. `run` sequences it; nothing here takes
a lock.
"""
