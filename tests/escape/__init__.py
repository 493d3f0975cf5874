"""Attacks on a container: each is run against its wall, and where the wall is taken away.

The modules that are named after what they attack hold the probes. They run inside: there, only the
standard library is at hand. `python -m tests.escape` runs all of them and prints a table.
"""
