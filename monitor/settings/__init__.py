"""The settings: one frozen tree, read from a TOML file, the environment and flags, and checked as a whole.

The doors: `load.load` returns the `tree.Settings` in force, or raises a `ConfigurationError` with every problem found.
Everything that reads a setting takes a `Settings` or one of its sections as an argument; nothing is global.

    base        a section, a field, and how values are written
    stages      sections for decoding, windows, sensors and alerts
    learning    sections for model, training and threshold
    process     sections for source, outputs, store, delivery, health, reload and log
    servers     sections for Kafka and InfluxDB
    running     the section about machines that rest
    rules       sections of single machines and channels
    detectors   [[detectors]], and what each overrides
    sections    all sections together, each valid by itself
    checks/     combinations of settings that are refused
    tree        the sections, valid together
    load        file, environment, flags and secret files
    live        settings that a running process may change
    reference   configs/reference.toml and docs/configuration.md, written from the fields
    schemas     docs/schemas, written from the published records

Promises: an unknown key, an unknown variable with our prefix, a value out of range and a contradiction are refused, all
in one error, before anything is started. Each problem is one line with the key and the value. A secret is never shown.
No module imports torch, so that commands which compute nothing start in half a second.
"""
