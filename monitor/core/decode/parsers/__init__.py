"""Parsers of formats with a fixed layout: messages -> points. `kind = "json"`, with a field map, is in mapped/.

from_json      JSON in fixed layouts: one reading per message, all channels of an asset, or Telegraf's JSON
json_errors    what is wrong with a JSON message
from_line      InfluxDB line protocol, the fast way
line_grammar   the whole grammar of line protocol, for unusual lines and for explaining errors
from_csv       a row of a CSV file under its header
members        values that are no numbers: states, numbers in texts, and what is skipped
"""
