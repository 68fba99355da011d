"""Readers of sources, one module for each kind."""
