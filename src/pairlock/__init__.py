"""Device pairing and capability tokens for any ASGI service."""
