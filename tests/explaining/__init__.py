"""Explained requests, and what really happens to them."""
