"""The command: one module for each group of subcommands."""

INTERRUPTED = 130  # the exit status after Ctrl-C
