"""Measurements of the project against what it is compared with, always in one run."""
