"""A simulated plant with labelled faults, for `monitor demo` and `monitor simulate`, benchmarks and tests.

`plant.Plant` makes healthy readings, `faults` the faults and their labels, `stream` writes readings to a topic or to
standard output, `demo` runs the unchanged daemon on them and `demo_view` shows it in the terminal.

Promised: every value is a function of the settings and its step, so a stream may be made in any pieces.
"""
