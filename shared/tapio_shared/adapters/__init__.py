"""Real and in-memory versions of the ports. Only `__main__` modules and tests import from here."""
