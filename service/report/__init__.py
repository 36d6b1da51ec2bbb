"""A report on recordings: one page of HTML with drawings, without scripts and without network."""
