-- What is to be sent: mail and webhooks, sealed, written in the transaction of their cause.

-- name: outbox_put(id, kind, label, key_id, sealed, created_at, due_at, expires_at)!
INSERT INTO outbox (id, kind, label, key_id, sealed, created_at, due_at, expires_at)
VALUES (:id, :kind, :label, :key_id, :sealed, :created_at, :due_at, :expires_at)

-- name: outbox_claim(now, until, most)
-- Of two who claim at once, one waits for the other's rows and finds them claimed.
UPDATE outbox SET claimed_until = :until, attempts = attempts + 1
WHERE claimed_until <= :now AND id IN (
    SELECT id FROM outbox WHERE due_at <= :now AND claimed_until <= :now ORDER BY due_at LIMIT :most
)
RETURNING id, kind, label, key_id, sealed, attempts, created_at, expires_at, claimed_until

-- name: outbox_done(id)!
DELETE FROM outbox WHERE id = :id

-- name: outbox_later(id, due_at, failure)!
UPDATE outbox SET due_at = :due_at, claimed_until = 0, failure = :failure WHERE id = :id

-- name: outbox_purge(now)
DELETE FROM outbox WHERE expires_at <= :now AND claimed_until <= :now
RETURNING kind, label, attempts

-- name: outbox_is_due(now)^
SELECT id FROM outbox
WHERE claimed_until <= :now AND (due_at <= :now OR expires_at <= :now) LIMIT 1

-- name: outbox_count()
SELECT kind, COUNT(*) FROM outbox GROUP BY kind

-- name: outbox_list(most)
SELECT id, kind, label, attempts, created_at, due_at, expires_at, failure FROM outbox
ORDER BY due_at, id LIMIT :most

-- name: outbox_key_ids()
SELECT DISTINCT key_id FROM outbox

-- name: outbox_sealed_otherwise(key_id)
SELECT id, sealed FROM outbox WHERE key_id <> :key_id

-- name: outbox_reseal(id, key_id, sealed)!
UPDATE outbox SET key_id = :key_id, sealed = :sealed WHERE id = :id
