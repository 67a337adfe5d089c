-- Users, sessions and what belongs to them. Times are milliseconds since 1970, by this database's clock; only
-- the columns that AccessPass has keep its kinds. A constraint is named table_column: faults name the column.

CREATE FUNCTION postern_now() RETURNS bigint LANGUAGE sql VOLATILE PARALLEL SAFE
    AS $$ SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint $$;

CREATE FUNCTION postern_timestamp(milliseconds bigint) RETURNS timestamp LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT to_timestamp(milliseconds / 1000) AT TIME ZONE 'UTC' $$;

CREATE TABLE users (
    id bigserial CONSTRAINT users_id PRIMARY KEY,
    user_id text NOT NULL CONSTRAINT users_user_id UNIQUE,
    username text,
    username_key text CONSTRAINT users_username_key UNIQUE,
    meta text NOT NULL DEFAULT '{}',
    email text NOT NULL,
    email_key text NOT NULL CONSTRAINT users_email_key UNIQUE,
    password_hash text,
    successful_login_attempts integer NOT NULL DEFAULT 0,
    confirm_id text,
    password_reset_key text,
    password_reset_expire bigint,
    confirmed boolean NOT NULL DEFAULT false,
    inserted_at timestamp NOT NULL,
    updated_at timestamp NOT NULL,
    first_name text NOT NULL DEFAULT '',
    last_name text NOT NULL DEFAULT '',
    protected text NOT NULL DEFAULT '{}',
    locked_at bigint,
    locked_why text NOT NULL DEFAULT '',
    last_login_at bigint,
    last_login_address text NOT NULL DEFAULT '',
    password_changed_at bigint NOT NULL,
    email_proved_at bigint,
    created_at bigint NOT NULL
);

CREATE TABLE roles (
    name text CONSTRAINT roles_name PRIMARY KEY,
    permissions text NOT NULL DEFAULT '[]',
    created_at bigint NOT NULL
);

CREATE TABLE user_roles (
    user_id text NOT NULL CONSTRAINT user_roles_of REFERENCES users (user_id) ON DELETE CASCADE,
    role text NOT NULL CONSTRAINT user_roles_role REFERENCES roles (name) ON DELETE CASCADE,
    granted_at bigint NOT NULL,
    granted_by text NOT NULL DEFAULT '',
    CONSTRAINT user_roles_user_id PRIMARY KEY (user_id, role)
);
CREATE INDEX user_roles_by_role ON user_roles (role);

-- No index has a column that a refresh changes, and pages keep room: so a refresh touches no index.
CREATE TABLE sessions (
    session_id text CONSTRAINT sessions_session_id PRIMARY KEY,
    user_id text NOT NULL CONSTRAINT sessions_of REFERENCES users (user_id) ON DELETE CASCADE,
    salt bytea NOT NULL,
    key_id text NOT NULL,
    generation bigint NOT NULL,
    min_generation bigint NOT NULL,
    rotated_at bigint NOT NULL,
    access_until bigint NOT NULL,
    presented_at bigint,
    cookie_generation bigint NOT NULL,
    cookie_rotated_at bigint NOT NULL,
    cookie_presented_at bigint,
    family text NOT NULL,
    address text NOT NULL,
    agent text NOT NULL,
    methods text NOT NULL,
    level integer NOT NULL,
    proved_at bigint NOT NULL,
    created_at bigint NOT NULL,
    last_seen_at bigint NOT NULL,
    idle_until bigint NOT NULL,
    absolute_until bigint NOT NULL,
    ended_at bigint,
    ended_why text NOT NULL DEFAULT '',
    cookie_mode integer NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX sessions_by_user ON sessions (user_id);

-- The last `history` of a session: each generation takes the slot generation % history from an older one. No
-- reference to the session: checking it would cost every refresh; who deletes sessions deletes these.
CREATE TABLE rotations (
    session_id text NOT NULL,
    slot integer NOT NULL,
    generation bigint NOT NULL,
    at bigint NOT NULL,
    address text NOT NULL,
    agent text NOT NULL,
    CONSTRAINT rotations_session_id PRIMARY KEY (session_id, slot)
) WITH (fillfactor = 70);

CREATE TABLE revocations (
    sequence bigserial CONSTRAINT revocations_sequence PRIMARY KEY,
    kind text NOT NULL,
    session_id text NOT NULL,
    user_id text NOT NULL,
    at bigint NOT NULL
);
CREATE INDEX revocations_by_time ON revocations (at);

CREATE TABLE one_time_keys (
    hash bytea CONSTRAINT one_time_keys_hash PRIMARY KEY,
    purpose text NOT NULL,
    user_id text CONSTRAINT one_time_keys_of REFERENCES users (user_id) ON DELETE CASCADE,
    data text NOT NULL DEFAULT '{}',
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    used_at bigint
);
CREATE INDEX one_time_keys_by_user ON one_time_keys (user_id, purpose);
CREATE INDEX one_time_keys_by_expiry ON one_time_keys (expires_at);

-- What happened, also to users who are gone: so no reference to them.
CREATE TABLE events (
    id bigserial CONSTRAINT events_id PRIMARY KEY,
    at bigint NOT NULL,
    event text NOT NULL,
    user_id text NOT NULL,
    actor text NOT NULL,
    session_id text NOT NULL,
    address text NOT NULL,
    agent text NOT NULL,
    data text NOT NULL DEFAULT '{}'
);
CREATE INDEX events_by_user ON events (user_id, id);
CREATE INDEX events_by_time ON events (at);

CREATE TABLE signing_keys (
    kid text CONSTRAINT signing_keys_kid PRIMARY KEY,
    algorithm text NOT NULL,
    key_id text NOT NULL,
    sealed bytea NOT NULL,
    public text NOT NULL,
    created_at bigint NOT NULL,
    retired_at bigint,
    expires_at bigint
);

CREATE TABLE facts (
    name text CONSTRAINT facts_name PRIMARY KEY,
    value text NOT NULL
);

INSERT INTO roles (name, permissions, created_at) VALUES
    ('user', '[]', postern_now()),
    ('admin', '["postern:admin"]', postern_now());

INSERT INTO facts (name, value) VALUES ('store_id', replace(gen_random_uuid()::text, '-', ''));
