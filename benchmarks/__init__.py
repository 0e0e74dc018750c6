"""Measurements of the client, one question per file; `python -m benchmarks` asks them.

Nothing here is installed with the package, and nothing of the package imports it.
"""
