"""One module per technology at the edge; each is the only importer of its client library."""
