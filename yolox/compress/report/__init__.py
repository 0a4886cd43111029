"""The report: what is measured of every checkpoint, as a table, JSON and a page."""
