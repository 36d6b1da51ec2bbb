"""Networks of the five papers and the default one. Needs torch, except `models.labels`, which imports nothing."""
