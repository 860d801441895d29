"""Load: clients of every kind on one server at once, with exact counts at the end. Start reading at
`__main__.py`.
"""
