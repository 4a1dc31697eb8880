"""A broker inside the process, for the demo and for tests.

`broker.MemoryBroker` keeps topics, groups and offsets. `client.MemorySource` and `client.MemorySink` are its clients.
"""
