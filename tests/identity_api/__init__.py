"""The identity API as a client meets it: over the wire, through the edge, on both databases."""
