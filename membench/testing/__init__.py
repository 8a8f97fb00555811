"""The contract suite: what `membench check` finds out about a plugin, and what an author's own tests can call.

`subject` has the words and the order of the checks, `table` lists them; the modules that act (`world`, `stages`, `runs`
and so on) import torch, and are imported when the first check runs. `pytest_plugin` brings the fixtures, `harness` gives
each plugin a process. Importing this package imports nothing.
"""
