"""Alerts: from windows above their limit, new modes, faulty sensors and silent assets to records that are published.

`MachineAlerts`, `ModeAlerts` and `SensorAlerts` decide for each window whether it counts for or against an alert, and
write the fields that differ between them. `SilenceAlerts`, and `NotRunningAlerts` of `core/running`, decide by the
partition's time. `Lifecycle` holds the life that all share: pending, firing, adapted, resolved. To change when an alert
opens, fires or ends, or which parts its id has, change `lifecycle.py`. Whether a window counts as
quiet (ratio below 1 - deadband) is decided in `machine_alerts.py`. `core/threshold/budget.py` simulates the same life
for every margin that the alarm budget may choose, so a change of the rules must be made there as well: test_budget_twin
compares the two. Guaranteed: alerts are a function of the sequence of windows and readings, however it is cut into
batches. Ids depend on the window or reading that opened an alert, never on clock, scores or model.
"""
