"""The exit codes of the commands."""

MISSING = 1  # the command ran, and a part of what was asked for is missing from its result
BAD_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT
