"""What pairlock costs, beside its peers: scripts that print tables of ratios. No part of the tests."""
