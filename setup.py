"""Metadata is in pyproject.toml; this file serves tools that ask for it."""

from setuptools import setup

setup()
