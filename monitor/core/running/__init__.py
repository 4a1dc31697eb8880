"""Whether a machine runs: the condition, learned levels of activity, states and stops, and machines that should run."""
