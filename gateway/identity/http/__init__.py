"""The calls of the API, one file per resource: what they take and answer; the work is done elsewhere."""
