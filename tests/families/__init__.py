"""Detector families: toys that the toolkit does not have, each an experiment file and nothing more,
and small members of those it has.
"""
