"""Training, prediction and scoring of the papers' networks: recipes, data, losses, evaluation."""
