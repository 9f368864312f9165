"""The command line: `observability` and its subcommands."""
