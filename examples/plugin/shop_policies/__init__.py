"""The shop's own policies for its Postern."""
