"""Floor 0: the pure words of the gateway. No I/O here, only the standard library and msgspec."""
