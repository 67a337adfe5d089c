-- The audit trail.

-- name: event_insert(at, event, user_id, actor, session_id, address, agent, data)!
INSERT INTO events (at, event, user_id, actor, session_id, address, agent, data)
VALUES (:at, :event, :user_id, :actor, :session_id, :address, :agent, :data)

-- name: events_page(before, event, most)
SELECT id, at, event, user_id, actor, session_id, address, agent, data FROM events
WHERE id < :before AND (CAST(:event AS TEXT) = '' OR event = :event)
ORDER BY id DESC LIMIT :most

-- name: events_page_of(user_id, before, event, most)
SELECT id, at, event, user_id, actor, session_id, address, agent, data FROM events
WHERE user_id = :user_id AND id < :before AND (CAST(:event AS TEXT) = '' OR event = :event)
ORDER BY id DESC LIMIT :most

-- name: events_purge(before, most)!
DELETE FROM events WHERE id IN (SELECT id FROM events WHERE at < :before ORDER BY at LIMIT :most)
