"""Data sets, augmentation and batches. Randomness is always an argument."""
