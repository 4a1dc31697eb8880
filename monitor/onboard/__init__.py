"""`monitor onboard`: look at a topic or a file and write a configuration that monitors it.

The door is `command.onboard`. `format/` detects the format of the messages, `survey` measures the sample, with
`kinds` and `pace` for channels and `rest` for machines. `classes` finds which machines are alike, and `detectors`
proposes one for each class. `settings` turns all of it into a commented configuration, `cost` runs the real stages on
the sample to estimate load and memory, and `dashboard` and `report` write the rest.

Promised: no group is joined, nothing is committed, and the configuration is written only after it loads without an
error. Everything rests on the sample: assets and fields that are not in it are unknown.
"""
