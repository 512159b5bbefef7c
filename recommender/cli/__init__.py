"""The command: one module per group of subcommands."""

INTERRUPTED = 130  # the exit status after Ctrl-C
