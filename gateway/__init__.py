"""Postern: the gate beside your backend."""

__version__ = "0.1.0"
