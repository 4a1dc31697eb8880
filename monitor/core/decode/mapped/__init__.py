"""`kind = "json"`: any JSON -> points, by a field map, which says where a message holds what.

places      paths and other places of a message
field_map   the compiled map, and what is refused of it
from_map    the parser
glance      the quick way of from_map, for ordinary items
presets     maps of known gateways
"""
