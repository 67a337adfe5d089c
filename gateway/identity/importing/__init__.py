"""Moving in: the users of another system become users here."""
