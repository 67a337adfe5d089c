"""Floor 2: where things last: users, sessions, keys, news of revocations, counts."""
