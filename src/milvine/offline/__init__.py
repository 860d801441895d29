"""Looking after a database that nobody trusts: verify, repair, backup, restore. Works on files, not
on services.
"""
