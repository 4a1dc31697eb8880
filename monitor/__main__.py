"""`python -m monitor` is the command `monitor`, independent of PATH."""

from monitor.cli import main

main()
