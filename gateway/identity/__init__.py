"""The identity service: accounts, sessions and their tokens; never imported by an edge."""
