"""Why a request passes or fails: the real chain with nothing real behind it, and what the log tells."""
