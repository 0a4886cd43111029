"""The training engine: optimiser, schedule, EMA, checkpoints, processes, and the training loop."""
