"""The server: operations on a database behind one seam (bytes in, bytes out), and the doors in
front of it.
"""
