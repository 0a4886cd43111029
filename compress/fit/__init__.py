"""Calibration images and what is fitted on them, without gradients."""
