"""A simulated plant of several kinds of machines, a reading a minute: pumps in two shifts, mixers, compressors.

`shift_pumps`, `mixers` and `compressors` each make the healthy signals of one kind, `faults` changes them as its labels
say, `plant` puts all together and makes the messages.
"""
