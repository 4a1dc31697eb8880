"""Published records from Kafka into InfluxDB.

`Recorder` reads the alert and score topics as a consumer group of its own and writes points; offsets are committed only
after the database has acknowledged the points. `line_protocol.py` turns one message into points: change it to add a
tag or field.
"""
