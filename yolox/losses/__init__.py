"""What the families' losses share."""
