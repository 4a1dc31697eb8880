"""`python -m monitor.service` is `monitor`, whatever the PATH."""

from monitor.cli import main

main()
