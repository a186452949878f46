"""A small house with sensors and controls, guarded by pairlock."""
