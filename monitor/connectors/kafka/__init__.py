"""Kafka as source, sink and committer, through librdkafka; the only package that imports its client.

`source.KafkaSource` is a member of a consumer group. `sink.KafkaSink` writes records at least once, and
`transactions.KafkaTransactions` writes them exactly once, together with the offsets.

    source        the group's callbacks, and what a poll returns
    positions     which partitions are fetched, and from where
    commits       committed offsets, with a time limit
    stalls        why partitions deliver nothing
    sink          acknowledged records
    transactions  records and offsets in one transaction
    pending       records waiting for acknowledgement, and which of them is to blame for a refused batch
    sample        messages of a topic, read without joining a group
    options       librdkafka's options that a configuration must not set
    client        errors of the client
"""
