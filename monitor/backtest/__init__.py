"""`monitor backtest`: replay a recording through the daemon's own stages and report the alerts it would have raised.

The door is `command.backtest`. `replay` reads and scores, `tracks` keeps the columns of every scored window,
`evaluate` compares a detector's alerts and scores with labels, `together` those of all detectors, and `report/` writes
one HTML file.

Promised: the alerts are those of `monitor run` on the same messages with the same model. Nothing is published, nothing
is committed, and the store is only read.
"""
