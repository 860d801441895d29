"""Who may come in: tokens with roles, TLS, limits for each caller. Nothing of it is there if
nothing is configured.
"""
