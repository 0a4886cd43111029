"""The commands of the toolkit: `yolox train|eval|demo|...`, and what `tools/*.py` call."""
