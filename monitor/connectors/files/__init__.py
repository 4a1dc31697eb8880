"""Recordings as a source, and JSON lines as a sink.

`source.FileSource` reads files of JSON lines, CSV, Parquet and npz, or standard input; each file is a partition whose
offsets are row numbers. `sink.FileSink` appends records to one file per topic, or to standard output.

    source    partitions, offsets, replay in the recorded rhythm
    lines     rows of a file or of a pipe, as they are
    tables    rows of CSV and Parquet, each with its header
    arrays    rows of npz, as JSON
    shape     files that are no table, rows wider than the header
    parquet   rows of Parquet as lines of text
    layout    the columns of a CSV file, found in its first rows; `words` has their usual names
    stamps    dates, times and zones of CSV
    numerals  decimal signs and marks between thousands
    tags      tags of a long table as asset and channel
    text      encodings
    sink      files that end with a whole line, whatever failed
"""
