-- Users, sessions and what belongs to them. Times are milliseconds since 1970, by this database's clock; only
-- the columns that AccessPass has keep its kinds. A constraint is named table_column: faults name the column.

CREATE TABLE users (
    id INTEGER CONSTRAINT users_id PRIMARY KEY AUTOINCREMENT,
    user_id TEXT NOT NULL CONSTRAINT users_user_id UNIQUE,
    username TEXT,
    username_key TEXT CONSTRAINT users_username_key UNIQUE,
    meta TEXT NOT NULL DEFAULT '{}',
    email TEXT NOT NULL,
    email_key TEXT NOT NULL CONSTRAINT users_email_key UNIQUE,
    password_hash TEXT,
    successful_login_attempts INTEGER NOT NULL DEFAULT 0,
    confirm_id TEXT,
    password_reset_key TEXT,
    password_reset_expire INTEGER,
    confirmed INTEGER NOT NULL DEFAULT 0,
    inserted_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    first_name TEXT NOT NULL DEFAULT '',
    last_name TEXT NOT NULL DEFAULT '',
    protected TEXT NOT NULL DEFAULT '{}',
    locked_at INTEGER,
    locked_why TEXT NOT NULL DEFAULT '',
    last_login_at INTEGER,
    last_login_address TEXT NOT NULL DEFAULT '',
    password_changed_at INTEGER NOT NULL,
    email_proved_at INTEGER,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE roles (
    name TEXT CONSTRAINT roles_name PRIMARY KEY,
    permissions TEXT NOT NULL DEFAULT '[]',
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE user_roles (
    user_id TEXT NOT NULL CONSTRAINT user_roles_of REFERENCES users (user_id) ON DELETE CASCADE,
    role TEXT NOT NULL CONSTRAINT user_roles_role REFERENCES roles (name) ON DELETE CASCADE,
    granted_at INTEGER NOT NULL,
    granted_by TEXT NOT NULL DEFAULT '',
    CONSTRAINT user_roles_user_id PRIMARY KEY (user_id, role)
) STRICT;
CREATE INDEX user_roles_by_role ON user_roles (role);

-- No index has a column that a refresh changes.
CREATE TABLE sessions (
    session_id TEXT CONSTRAINT sessions_session_id PRIMARY KEY,
    user_id TEXT NOT NULL CONSTRAINT sessions_of REFERENCES users (user_id) ON DELETE CASCADE,
    salt BLOB NOT NULL,
    key_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    min_generation INTEGER NOT NULL,
    rotated_at INTEGER NOT NULL,
    access_until INTEGER NOT NULL,
    presented_at INTEGER,
    cookie_generation INTEGER NOT NULL,
    cookie_rotated_at INTEGER NOT NULL,
    cookie_presented_at INTEGER,
    family TEXT NOT NULL,
    address TEXT NOT NULL,
    agent TEXT NOT NULL,
    methods TEXT NOT NULL,
    level INTEGER NOT NULL,
    proved_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL,
    idle_until INTEGER NOT NULL,
    absolute_until INTEGER NOT NULL,
    ended_at INTEGER,
    ended_why TEXT NOT NULL DEFAULT '',
    cookie_mode INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_by_user ON sessions (user_id);

-- The last `history` of a session: each generation takes the slot generation % history from an older one. No
-- reference to the session: checking it would cost every refresh; who deletes sessions deletes these.
CREATE TABLE rotations (
    session_id TEXT NOT NULL,
    slot INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    at INTEGER NOT NULL,
    address TEXT NOT NULL,
    agent TEXT NOT NULL,
    CONSTRAINT rotations_session_id PRIMARY KEY (session_id, slot)
) STRICT;

CREATE TABLE revocations (
    sequence INTEGER CONSTRAINT revocations_sequence PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    session_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
CREATE INDEX revocations_by_time ON revocations (at);

CREATE TABLE one_time_keys (
    hash BLOB CONSTRAINT one_time_keys_hash PRIMARY KEY,
    purpose TEXT NOT NULL,
    user_id TEXT CONSTRAINT one_time_keys_of REFERENCES users (user_id) ON DELETE CASCADE,
    data TEXT NOT NULL DEFAULT '{}',
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at INTEGER
) STRICT;
CREATE INDEX one_time_keys_by_user ON one_time_keys (user_id, purpose);
CREATE INDEX one_time_keys_by_expiry ON one_time_keys (expires_at);

-- What happened, also to users who are gone: so no reference to them.
CREATE TABLE events (
    id INTEGER CONSTRAINT events_id PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    event TEXT NOT NULL,
    user_id TEXT NOT NULL,
    actor TEXT NOT NULL,
    session_id TEXT NOT NULL,
    address TEXT NOT NULL,
    agent TEXT NOT NULL,
    data TEXT NOT NULL DEFAULT '{}'
) STRICT;
CREATE INDEX events_by_user ON events (user_id, id);
CREATE INDEX events_by_time ON events (at);

CREATE TABLE signing_keys (
    kid TEXT CONSTRAINT signing_keys_kid PRIMARY KEY,
    algorithm TEXT NOT NULL,
    key_id TEXT NOT NULL,
    sealed BLOB NOT NULL,
    public TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    retired_at INTEGER,
    expires_at INTEGER
) STRICT;

CREATE TABLE facts (
    name TEXT CONSTRAINT facts_name PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

INSERT INTO roles (name, permissions, created_at) VALUES
    ('user', '[]', postern_now()),
    ('admin', '["postern:admin"]', postern_now());

INSERT INTO facts (name, value) VALUES ('store_id', lower(hex(randomblob(16))));
