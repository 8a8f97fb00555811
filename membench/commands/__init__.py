"""The subcommands; `membench.cli` parses the words and calls one of these."""
