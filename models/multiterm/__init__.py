"""The multi-term, multi-task boosting system: window statistics, sixty boosters, training, live windows."""
