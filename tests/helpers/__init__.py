"""Small models, runs, datasets and scenes that several test files share."""
