"""The client: ``api`` talks HTTP to a grid, ``commands`` is the command line on top of it."""
