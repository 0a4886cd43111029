"""The pictures of an evaluation: confusion, precision and recall, the worst images."""
