"""The benchmarks of `affectstream bench`, one file for each subcommand."""
