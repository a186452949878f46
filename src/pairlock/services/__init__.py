"""The services: they own the clock and the store; each step reads, decides by the rules of the core, and commits."""
