"""What a model is made of: channel groups, their cost, and the merged sparse form."""
