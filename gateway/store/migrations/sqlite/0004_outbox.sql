-- What is to be sent, and is deleted when it was sent or its time is over; the text is sealed.

CREATE TABLE outbox (
    id TEXT CONSTRAINT outbox_id PRIMARY KEY,
    kind TEXT NOT NULL,
    label TEXT NOT NULL,
    key_id TEXT NOT NULL,
    sealed BLOB NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    claimed_until INTEGER NOT NULL DEFAULT 0,
    failure TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX outbox_by_due ON outbox (due_at);
