"""`python -m monitor` is `monitor`, whatever the PATH."""

from monitor.cli import main

main()
