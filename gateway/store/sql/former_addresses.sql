-- Addresses that accounts had before, until nobody can take them back any more.
-- {former} = id, hash, user_id, email, email_key, created_at, expires_at

-- name: former_insert(hash, user_id, email, email_key, created_at, expires_at)!
INSERT INTO former_addresses (hash, user_id, email, email_key, created_at, expires_at)
VALUES (:hash, :user_id, :email, :email_key, :created_at, :expires_at)

-- name: former_by_hash(hash, now)^
SELECT {former} FROM former_addresses WHERE hash = :hash AND expires_at > :now

-- name: former_by_key(email_key, now)^
SELECT {former} FROM former_addresses WHERE email_key = :email_key AND expires_at > :now ORDER BY id LIMIT 1

-- name: former_delete_since(user_id, id)!
DELETE FROM former_addresses WHERE user_id = :user_id AND id >= :id

-- name: former_purge(now, most)!
DELETE FROM former_addresses WHERE id IN (
    SELECT id FROM former_addresses WHERE expires_at <= :now LIMIT :most
)
