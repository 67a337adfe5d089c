-- Addresses that accounts had until not long ago: each stays its old owner's to take back, by a key that was
-- mailed there, and nobody else gets it meanwhile.

CREATE TABLE former_addresses (
    id bigserial CONSTRAINT former_addresses_id PRIMARY KEY,
    hash bytea NOT NULL CONSTRAINT former_addresses_hash UNIQUE,
    user_id text NOT NULL CONSTRAINT former_addresses_of REFERENCES users (user_id) ON DELETE CASCADE,
    email text NOT NULL,
    email_key text NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL
);
CREATE INDEX former_addresses_by_key ON former_addresses (email_key);
CREATE INDEX former_addresses_by_user ON former_addresses (user_id);

-- Browsers that a user has signed in from, by the hash of a cookie. One browser may be known to several users.

CREATE TABLE devices (
    hash bytea NOT NULL,
    user_id text NOT NULL CONSTRAINT devices_of REFERENCES users (user_id) ON DELETE CASCADE,
    failures integer NOT NULL DEFAULT 0,
    created_at bigint NOT NULL,
    used_at bigint NOT NULL,
    CONSTRAINT devices_hash PRIMARY KEY (hash, user_id)
);
CREATE INDEX devices_by_user ON devices (user_id, used_at);
CREATE INDEX devices_by_use ON devices (used_at);
