"""How messages are shown: each becomes HTML in which nothing runs, and nothing is loaded.

Nothing here performs I/O but the reading of the package's own templates.
"""
