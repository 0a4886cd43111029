"""Generators of files and command lines that are wrong in every way, and how many are tried."""
