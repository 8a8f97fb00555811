"""Where packs run: the pool, its worker processes, and what they say to each other."""
