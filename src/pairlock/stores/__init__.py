"""Where records are kept: the contract, and the stores that keep it."""
