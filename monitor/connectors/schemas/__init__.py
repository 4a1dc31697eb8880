"""Messages whose values a schema describes: Avro, Protobuf, and JSON behind the number of a schema.

A function that turns a value into the JSON text of its record is put on each message, and `core/decode` calls it. So
the format of a topic is configured as for JSON, and a message that is rejected keeps its bytes.

    framing     where a message names its schema: the first five bytes, or a header
    avro        a schema in JSON -> the function
    protobuf    a compiled schema -> the function
    proto_text  the text of a .proto file -> a compiled schema
    values      values that JSON has no type for, and the JSON text of a record
    encoding    the one of these that a schema needs, and schemas from local files
    registry    a schema registry over HTTP
    resolver    the functions of a batch's messages, from local files and from the registry
    source      a source whose partitions wait while the registry cannot be asked

Only `registry` does I/O, and `encoding` where it reads local files. fastavro and protobuf are in the extra `schemas`,
and are imported by the modules that need them.
"""
