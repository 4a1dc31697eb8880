"""Combinations of settings that are refused.

check       all of them
problem     a refused combination, and the error that lists several
source      the source, and the format of its messages
schemas     Avro and Protobuf
channels    channels, and conditions over them: modes, running, what training leaves out
detectors   [[detectors]]
learning    windows, model, training, threshold
delivery    outputs, delivery, health, store
servers     Kafka, recorder
"""
