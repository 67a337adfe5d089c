"""Measurements of Postern beside its peers, on the machine at hand."""
