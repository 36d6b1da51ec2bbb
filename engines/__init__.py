"""From a network to something that runs fast: weights, export, compilation, verification, execution."""
