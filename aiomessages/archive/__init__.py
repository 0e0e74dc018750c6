"""Keep every stored completion in one SQLite file that stays current.

Names load on first use: the local server reads and writes archives, and needs no client.
"""
