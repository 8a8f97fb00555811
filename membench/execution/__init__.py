"""Run packs in worker processes: the pool, the supervision of its children, and their messages."""
