"""Latency, memory and size of any number of models, each in a process of its own, in turns."""
