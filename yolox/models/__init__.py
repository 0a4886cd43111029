"""What the networks of all families share, and what is done to any of them."""
