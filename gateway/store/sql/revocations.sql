-- News for the edges. The sequence grows, but transactions commit out of its order.

-- name: revocation_insert(kind, session_id, user_id, at)$
INSERT INTO revocations (kind, session_id, user_id, at) VALUES (:kind, :session_id, :user_id, :at)
RETURNING sequence

-- name: revocations_end()$
SELECT max(sequence) FROM revocations

-- name: revocations_after(sequence)
SELECT sequence, kind, session_id, user_id, at FROM revocations WHERE sequence > :sequence ORDER BY sequence

-- name: revocations_purge(before, most)!
DELETE FROM revocations WHERE sequence IN (
    SELECT sequence FROM revocations WHERE at < :before ORDER BY at LIMIT :most
)
