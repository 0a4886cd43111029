"""The report of a compression: what is measured of every checkpoint, as a table, JSON and a page."""
