"""From estimates to affect: smoothing, windows, baseline, abstention."""
