"""Real processes over real sockets: start, restart, reload, drain."""
