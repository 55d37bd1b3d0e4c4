"""What a run records about itself, and how two records differ."""
