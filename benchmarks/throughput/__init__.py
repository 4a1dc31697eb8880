"""How much one core does, beside a naive twin, other engines and the floor; see __main__.py."""
