"""Many recordings: one result for each, named after it, and a manifest that says what came of each."""
