"""Commands of an operator: they work on the service's store, beside running servers."""
