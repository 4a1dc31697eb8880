"""Training: learn models from the normal history of a plant, without ever stopping its monitoring.

The door is `Trainers`: the loop calls `tick` about once a second. It gives each detector's `Trainer` its turn, which
decides when to train, starts a child process (child.py), watches it, and makes its model current. `TrainingWorker`
(role.py) is the loop of a process that only trains. `HistoryStore` keeps what training learns from, and `ModelRegistry`
returns the models of the store as scorers.

Promises:

- A training that fails, is refused by the gate, runs out of time or memory, or is killed changes nothing.
- A candidate becomes the current model only after it is stored and has passed the gate.
- A group has one process that trains, one detector at a time, and processes that restart often do not train more often.
"""
