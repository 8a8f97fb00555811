"""The contract suite: what `membench check` finds out about a plugin, for authors' tests too.

`check` says what a check is, `catalogue` lists them all, `subject` runs them on one record of a
plugin. The functions stand in `static` and the `*_checks` modules, and are imported when the first
check runs, since most need torch. Those of regularizers share a `bench` of tiny runs, on the
networks of `toy`. `runner` gives each plugin file a process; `pytest_plugin` brings the fixtures
for authors. Importing this package imports nothing.
"""
