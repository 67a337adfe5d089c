-- Users. AccessPass's columns for one-time keys stay empty: ours are in a table of their own, hashed.
-- {user} = user_id, email, email_key, password_changed_at, created_at, id, username, username_key, meta,
--     password_hash, successful_login_attempts, confirmed, first_name, last_name, protected, locked_at,
--     locked_why, last_login_at, last_login_address, email_proved_at

-- name: user_insert(user_id, username, username_key, meta, email, email_key, password_hash, successful_login_attempts, confirmed, first_name, last_name, protected, locked_at, locked_why, last_login_at, last_login_address, password_changed_at, email_proved_at, created_at)^
INSERT INTO users (
    user_id, username, username_key, meta, email, email_key, password_hash, successful_login_attempts,
    confirmed, first_name, last_name, protected, locked_at, locked_why, last_login_at, last_login_address,
    password_changed_at, email_proved_at, created_at,
    inserted_at, updated_at
) VALUES (
    :user_id, :username, :username_key, :meta, :email, :email_key, :password_hash,
    :successful_login_attempts, :confirmed, :first_name, :last_name, :protected, :locked_at, :locked_why,
    :last_login_at, :last_login_address, :password_changed_at, :email_proved_at, :created_at,
    postern_timestamp(:created_at), postern_timestamp(:created_at)
) RETURNING id

-- name: user_insert_new(user_id, username, username_key, meta, email, email_key, password_hash, successful_login_attempts, confirmed, first_name, last_name, protected, locked_at, locked_why, last_login_at, last_login_address, password_changed_at, email_proved_at, created_at)*!
-- But none whose address somebody can still take back.
INSERT INTO users (
    user_id, username, username_key, meta, email, email_key, password_hash, successful_login_attempts,
    confirmed, first_name, last_name, protected, locked_at, locked_why, last_login_at, last_login_address,
    password_changed_at, email_proved_at, created_at,
    inserted_at, updated_at
)
SELECT
    :user_id, :username, :username_key, :meta, :email, :email_key, :password_hash,
    :successful_login_attempts, :confirmed, :first_name, :last_name, :protected, :locked_at, :locked_why,
    :last_login_at, :last_login_address, :password_changed_at, :email_proved_at, :created_at,
    postern_timestamp(:created_at), postern_timestamp(:created_at)
WHERE NOT EXISTS (
    SELECT 1 FROM former_addresses WHERE email_key = :email_key AND expires_at > postern_now()
)
ON CONFLICT DO NOTHING

-- name: user_role_if_there(user_id, role, by, now)*!
INSERT INTO user_roles (user_id, role, granted_at, granted_by)
SELECT user_id, :role, :now, :by FROM users WHERE user_id = :user_id
ON CONFLICT DO NOTHING

-- name: users_keys(after, most)
SELECT id, user_id, email_key, username_key FROM users WHERE id > :after ORDER BY id LIMIT :most

-- name: user_by_id(user_id)^
SELECT {user} FROM users WHERE user_id = :user_id

-- name: user_by_identifier(key)^
-- A user name has no @, an address has one: no key is both.
SELECT {user} FROM users WHERE email_key = :key OR username_key = :key

-- name: user_locked(user_id)^
-- Takes the row's lock; the time is that after waiting for it.
UPDATE users SET confirmed = confirmed WHERE user_id = :user_id
RETURNING postern_now() AS now, {user}

-- name: user_save(user_id, username, username_key, meta, email, email_key, confirmed, first_name, last_name, protected, email_proved_at, now)!
UPDATE users SET username = :username, username_key = :username_key, meta = :meta, email = :email,
    email_key = :email_key, confirmed = :confirmed, first_name = :first_name, last_name = :last_name,
    protected = :protected, email_proved_at = :email_proved_at, updated_at = postern_timestamp(:now)
WHERE user_id = :user_id

-- name: user_set_password(user_id, password_hash, now)!
UPDATE users SET password_hash = :password_hash, password_changed_at = :now,
    updated_at = postern_timestamp(:now)
WHERE user_id = :user_id

-- name: user_rehash(user_id, old, new)!
UPDATE users SET password_hash = :new WHERE user_id = :user_id AND password_hash = :old

-- name: user_signed_in(user_id, address, now)!
UPDATE users SET successful_login_attempts = successful_login_attempts + 1, last_login_at = :now,
    last_login_address = :address
WHERE user_id = :user_id

-- name: user_lock(user_id, why, now)!
UPDATE users SET locked_at = :now, locked_why = :why WHERE user_id = :user_id AND locked_at IS NULL

-- name: user_unlock(user_id)!
UPDATE users SET locked_at = NULL, locked_why = '' WHERE user_id = :user_id AND locked_at IS NOT NULL

-- name: user_delete(user_id)!
DELETE FROM users WHERE user_id = :user_id

-- name: user_drop_rotations(user_id)!
DELETE FROM rotations WHERE session_id IN (SELECT session_id FROM sessions WHERE user_id = :user_id)

-- name: users_page(after, pattern, most)
SELECT {user} FROM users
WHERE id > :after AND (email_key LIKE :pattern ESCAPE '!' OR username_key LIKE :pattern ESCAPE '!')
ORDER BY id LIMIT :most

-- name: users_count()$
SELECT count(*) FROM users
