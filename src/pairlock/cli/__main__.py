"""`python -m pairlock.cli` is `pairlock`."""

from pairlock.cli import main

main()
