"""Whether a machine runs, and whether it should.

    condition     the language of `running.when`
    levels        learned amounts of activity, in place of a condition
    running       which closed steps count: a machine is idle, off, starting or runs
    not_running   alerts of machines that do not run while they should
    shifts        the calendar by which they should

`running.Running` and `not_running.NotRunningAlerts` are the doors. docs/decisions/0034-running.md has the reasons.
"""
