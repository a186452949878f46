"""`pairlock serve`: the server, and the displays of who asks to be let in."""
