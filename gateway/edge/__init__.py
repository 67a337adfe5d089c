"""Floor 2: the data plane. Protocols on uvloop; no database, no secrets, no aiohttp."""
