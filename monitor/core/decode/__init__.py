"""Decoding: bytes of messages -> columns of readings, and the messages that were rejected.

`decode.decode_all` is the door. A whole batch of messages becomes one `ReadingBatch` and a list of `Rejected`. A member
of a message that cannot be read is skipped and counted, and the rest of its message is read. Only broken syntax, a
missing or absurd time, a missing asset and the limits reject a message. Its fate does not depend on its neighbours.

    bodies         values that a schema describes -> JSON texts
    select         globs for what to read and what to leave
    format         the configured layout of a topic, and the lists that a parser fills
    from_json      JSON in fixed layouts: one reading per message, all channels of an asset, or Telegraf's JSON
    from_line      InfluxDB line protocol, the fast way
    from_map       any JSON, by the places of a field map
    glance         the quick way of from_map, for ordinary items
    field_map      the compiled map, and what is refused of it
    places         paths and other places of a message
    quality        quality codes -> good, uncertain or bad
    from_csv       a row of a CSV file under its header
    members        values that are no numbers: states, numbers in texts, and what is skipped
    ids, names     names with other characters: `_` in their place, and two never become one
    line_grammar   the whole grammar of line protocol, for unusual lines and for explaining errors
    times          timestamps in any unit -> milliseconds

To add a format: write a parser (`format.Parser`), enter it in `PARSERS` and, where it has rules of its own, in the
branches on `kind` of `decode.py`; give its asset sources in `ASSET_FROM` of `format.py`; add the kind to
`FormatSection` in settings/stages.py. Every rejection names the field, the value found and the expected type.
"""
