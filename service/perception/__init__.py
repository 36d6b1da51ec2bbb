"""From a frame to faces, from samples to mel columns."""
