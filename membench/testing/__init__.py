"""The contract suite: what `membench check` finds out about a plugin, and what an author's own tests can call.

`subject` says what a check is, `table` lists them; the modules that act (`world`, `stages`, `runs` and so on) import
torch, and are imported when the first check runs. `pytest_plugin` brings the fixtures, `harness` gives each plugin a
process of its own. Importing this package imports nothing.
"""
