-- Addresses that accounts had until not long ago: each stays its old owner's to take back, by a key that was
-- mailed there, and nobody else gets it meanwhile.

CREATE TABLE former_addresses (
    id INTEGER CONSTRAINT former_addresses_id PRIMARY KEY AUTOINCREMENT,
    hash BLOB NOT NULL CONSTRAINT former_addresses_hash UNIQUE,
    user_id TEXT NOT NULL CONSTRAINT former_addresses_of REFERENCES users (user_id) ON DELETE CASCADE,
    email TEXT NOT NULL,
    email_key TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX former_addresses_by_key ON former_addresses (email_key);
CREATE INDEX former_addresses_by_user ON former_addresses (user_id);

-- Browsers that a user has signed in from, by the hash of a cookie. One browser may be known to several users.

CREATE TABLE devices (
    hash BLOB NOT NULL,
    user_id TEXT NOT NULL CONSTRAINT devices_of REFERENCES users (user_id) ON DELETE CASCADE,
    failures INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL,
    CONSTRAINT devices_hash PRIMARY KEY (hash, user_id)
) STRICT;
CREATE INDEX devices_by_user ON devices (user_id, used_at);
CREATE INDEX devices_by_use ON devices (used_at);
