"""Networks of the five papers in PyTorch, one file for each."""
