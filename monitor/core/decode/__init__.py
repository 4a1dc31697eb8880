"""Decoding: bytes of messages -> columns of readings, and the messages that were rejected.

`decode.decode_all` is the door. A whole batch of messages becomes one `ReadingBatch` and a list of `Rejected`. A member
of a message that cannot be read is skipped and counted, and the rest of its message is read. Only broken syntax, a
missing or absurd time, a missing asset and the limits reject a message. Its fate does not depend on its neighbours.

    bodies         values that a schema describes -> JSON texts
    format         the configured layout of a topic, and the lists that a parser fills
    parsers/       CSV, line protocol, and JSON in fixed layouts
    mapped/        any JSON, by the places of a field map; presets for known gateways
    by_pattern     asset and channel out of the names of Telegraf's points
    backtracking   refuses patterns that could take for ever
    select         globs for what to read and what to leave
    extra          channels outside the values, such as a recipe in a tag
    group          the group of a reading, such as the kind of its machine
    quality        quality codes -> good, uncertain or bad
    ids, names     names with other characters: `_` in their place, and two never become one
    times          timestamps in any unit -> milliseconds
    example        a message shown to a person

To add a format: write a parser (`format.Parser`) in parsers/, enter it in `PARSERS` and, where it has rules of its own,
in the branches on `kind` of `decode.py`; give its asset sources in `ASSET_FROM` of `format.py`; add the kind to
`FormatSection` in settings/stages.py. Every rejection names the field, the value found and the expected type.
"""
