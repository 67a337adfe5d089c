-- Browsers that users have signed in from, by the hash of their cookie.

-- name: device_try(hash, user_id)$
-- Of those who try at once, each gets another number.
UPDATE devices SET failures = failures + 1 WHERE hash = :hash AND user_id = :user_id
RETURNING failures

-- name: device_delete(hash, user_id)!
DELETE FROM devices WHERE hash = :hash AND user_id = :user_id

-- name: device_known(hash, user_id)$
SELECT failures FROM devices WHERE hash = :hash AND user_id = :user_id

-- name: device_used(hash, user_id, now)!
UPDATE devices SET failures = 0, used_at = :now WHERE hash = :hash AND user_id = :user_id

-- name: device_move(old, hash)!
UPDATE devices SET hash = :hash WHERE hash = :old

-- name: device_put(hash, user_id, now)!
INSERT INTO devices (hash, user_id, failures, created_at, used_at) VALUES (:hash, :user_id, 0, :now, :now)
ON CONFLICT (hash, user_id) DO UPDATE SET failures = 0, used_at = excluded.used_at

-- name: devices_drop_of(user_id)!
DELETE FROM devices WHERE user_id = :user_id

-- name: devices_drop_beyond(user_id, most)!
-- The limit is none: SQLite knows no OFFSET without one.
DELETE FROM devices WHERE user_id = :user_id AND hash IN (
    SELECT hash FROM devices WHERE user_id = :user_id
    ORDER BY used_at DESC, hash LIMIT 1000000000 OFFSET :most
)

-- name: devices_purge(before, most)!
DELETE FROM devices WHERE (hash, user_id) IN (
    SELECT hash, user_id FROM devices WHERE used_at < :before ORDER BY used_at LIMIT :most
)
