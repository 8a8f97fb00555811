"""What the subcommands do; `membench.cli` parses the words and calls one of these."""
