"""From faces and sound to estimates: one causal adapter per model family, one scheduler for all sessions."""
