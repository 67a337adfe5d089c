-- One-time keys, by their hash: invites, and what is sent by mail.

-- name: key_insert(hash, purpose, user_id, data, created_at, expires_at)!
INSERT INTO one_time_keys (hash, purpose, user_id, data, created_at, expires_at)
VALUES (:hash, :purpose, :user_id, :data, :created_at, :expires_at)

-- name: key_by_hash(hash, purpose)^
SELECT hash, purpose, user_id, data, created_at, expires_at, used_at FROM one_time_keys
WHERE hash = :hash AND purpose = :purpose

-- name: key_use(hash, purpose, now)^
-- Of many who try at once, one finds it unused.
UPDATE one_time_keys SET used_at = :now
WHERE hash = :hash AND purpose = :purpose AND used_at IS NULL AND expires_at > :now
RETURNING hash, purpose, user_id, data, created_at, expires_at, used_at

-- name: keys_of_purpose(purpose, now, created_at, hash, most)
SELECT hash, purpose, user_id, data, created_at, expires_at, used_at FROM one_time_keys
WHERE purpose = :purpose AND used_at IS NULL AND expires_at > :now
    AND (created_at < :created_at OR (created_at = :created_at AND hash > :hash))
ORDER BY created_at DESC, hash LIMIT :most

-- name: keys_between(purpose, now, first, last)
SELECT hash, purpose, user_id, data, created_at, expires_at, used_at FROM one_time_keys
WHERE hash >= :first AND hash <= :last AND purpose = :purpose AND used_at IS NULL AND expires_at > :now

-- name: key_delete(hash, purpose)!
DELETE FROM one_time_keys WHERE hash = :hash AND purpose = :purpose

-- name: keys_drop_of(user_id, purpose)!
DELETE FROM one_time_keys WHERE user_id = :user_id AND purpose = :purpose

-- name: keys_drop_all_of(user_id)!
DELETE FROM one_time_keys WHERE user_id = :user_id

-- name: keys_purge(before, most)!
DELETE FROM one_time_keys WHERE hash IN (
    SELECT hash FROM one_time_keys WHERE expires_at < :before OR used_at < :before LIMIT :most
)
