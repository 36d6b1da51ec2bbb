"""Studies: participants, recordings and conditions in one file, to tidy tables and a report."""
