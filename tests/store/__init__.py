"""The store: every test runs on SQLite and on PostgreSQL."""
