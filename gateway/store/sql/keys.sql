-- Keys that sign JWT access tokens.

-- name: signing_keys_all()
SELECT kid, algorithm, key_id, sealed, public, created_at, retired_at, expires_at FROM signing_keys
ORDER BY created_at DESC, kid

-- name: signing_key_insert(kid, algorithm, key_id, sealed, public, created_at, retired_at, expires_at)!
INSERT INTO signing_keys (kid, algorithm, key_id, sealed, public, created_at, retired_at, expires_at)
VALUES (:kid, :algorithm, :key_id, :sealed, :public, :created_at, :retired_at, :expires_at)

-- name: signing_key_retire(kid, retired_at, expires_at)!
UPDATE signing_keys SET retired_at = :retired_at, expires_at = :expires_at WHERE kid = :kid

-- name: signing_key_reseal(kid, key_id, sealed)!
UPDATE signing_keys SET key_id = :key_id, sealed = :sealed WHERE kid = :kid

-- name: signing_keys_purge(now)!
DELETE FROM signing_keys WHERE expires_at <= :now
