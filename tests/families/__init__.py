"""Detector families that the toolkit does not have: each is an experiment file and nothing more."""
