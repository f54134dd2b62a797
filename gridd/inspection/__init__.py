"""A look at a journal that is not in use: ``check`` tells, ``repair`` makes a new one of it."""
