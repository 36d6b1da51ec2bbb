"""The default voice network: its layers, data, training, export and evaluation."""
