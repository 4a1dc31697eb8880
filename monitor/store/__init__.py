"""Snapshots and models that survive a restart, in a directory or at any fsspec URL.

`snapshots.Snapshots` keeps the state of partitions, `models.Models` keeps models and the pointer to the current one.
Both verify every byte before use. An unusable file is moved to quarantine/ with a notice, never used and not deleted.

    base       `Blobs`, named bytes: the protocol that snapshots and models are written against
    folder     a folder of a store as a store: models and histories of one detector
    files      blobs in a directory, or at an fsspec URL
    atomic     files that survive a power cut
    tensors    arrays as safetensors with a checksum
"""
