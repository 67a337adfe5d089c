"""The tests: one folder per room of the gateway, threats by their numbers, and the kit that they share."""
