-- What is to be sent, and is deleted when it was sent or its time is over; the text is sealed.

CREATE TABLE outbox (
    id text CONSTRAINT outbox_id PRIMARY KEY,
    kind text NOT NULL,
    label text NOT NULL,
    key_id text NOT NULL,
    sealed bytea NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    created_at bigint NOT NULL,
    due_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    claimed_until bigint NOT NULL DEFAULT 0,
    failure text NOT NULL DEFAULT ''
);
CREATE INDEX outbox_by_due ON outbox (due_at);
