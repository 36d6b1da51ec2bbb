"""The default model: one small network for expressions, valence/arousal and action units, trained here."""
