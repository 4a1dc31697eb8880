"""The shell: settings, loop, signals, health, metrics, training schedule and command line."""
