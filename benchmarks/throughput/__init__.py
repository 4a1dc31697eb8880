"""Throughput of one core, compared with a naive twin, other engines and the floor; see __main__.py."""
