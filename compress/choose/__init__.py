"""What is kept: weight masks, plans within a budget, and budgets in measured time."""
