"""Recordings as a source, and JSON lines as a sink.

`source.FileSource` reads files of JSON lines, CSV and npz, or standard input; each file is a partition whose offsets
are row numbers. `sink.FileSink` appends records to one file per topic, or to standard output.

    source   partitions, offsets, replay in the recorded rhythm
    lines    rows of a file or of a pipe, as they are
    tables   rows of CSV (each with its header) and of npz (as JSON)
    sink     files that end with a whole line, whatever failed
"""
