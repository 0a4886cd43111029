"""Annotation formats: each is read into one record, and written from it."""
