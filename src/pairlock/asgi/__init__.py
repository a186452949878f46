"""Where pairlock meets ASGI: the sub-app, the guard, live connections. Parse, ask, render; no rule of pairing."""
