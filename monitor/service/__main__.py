"""`python -m monitor.service` is `monitor`, whatever the PATH."""

from monitor.service.cli import main

main()
