"""Measurements of the client, one question per file: `python -m benchmarks` runs them.

They are not installed with the package, and the package imports none of them.
"""
