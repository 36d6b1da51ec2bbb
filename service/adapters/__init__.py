"""One causal adapter for each model family: the network's inputs from faces and sound, estimates from its outputs."""
