"""A compression run: recipe, stages, recovery, measurement, report."""
