"""The listeners on which other proxies ask, asked as they ask."""
