"""How much memory and disk a collection will take: pure arithmetic over the formats of this
release, no file opened.
"""
