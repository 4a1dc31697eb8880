"""Sources of messages and sinks of records, one module or package per technology.

`base` has the protocols; its exceptions tell the caller how to react. Each package is the only importer of its client
library, and no package knows another one. `service/backends.py` chooses between them.
"""
