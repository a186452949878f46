"""The rules of pairing: no I/O, no clock, no randomness of their own."""
