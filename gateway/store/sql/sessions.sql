-- Sessions and their rotations. What begins with postern_now() AS now tells the unit of work the time.
-- {session} = session_id, user_id, salt, key_id, generation, min_generation, rotated_at, access_until,
--     cookie_generation, cookie_rotated_at, family, address, agent, proved_at, created_at, last_seen_at,
--     idle_until, absolute_until, presented_at, cookie_presented_at, methods, level, ended_at, ended_why,
--     cookie_mode, other_address

-- name: session_insert({session})!
INSERT INTO sessions ({session}) VALUES ({:session})

-- name: session_by_id(session_id)^
SELECT postern_now() AS now, {session} FROM sessions WHERE session_id = :session_id

-- name: session_locked(session_id)^
-- Takes the row's lock; the time is that after waiting for it.
UPDATE sessions SET level = level WHERE session_id = :session_id
RETURNING postern_now() AS now, {session}

-- name: session_with_user(session_id)
-- One row for each role; one with NULL for a user without.
SELECT postern_now() AS now,
    {session of s}, {user of u}, r.name, r.permissions
FROM sessions s
JOIN users u ON u.user_id = s.user_id
LEFT JOIN user_roles g ON g.user_id = s.user_id
LEFT JOIN roles r ON r.name = g.role
WHERE s.session_id = :session_id
ORDER BY r.name

-- name: session_rotate(session_id, now, key_id, access_until, idle_until)^
UPDATE sessions SET generation = generation + 1, presented_at = NULL, rotated_at = :now, last_seen_at = :now,
    key_id = :key_id, access_until = :access_until, idle_until = :idle_until
WHERE session_id = :session_id
RETURNING {session}

-- name: rotation_insert(session_id, slot, generation, at, address, agent)!
INSERT INTO rotations (session_id, slot, generation, at, address, agent)
VALUES (:session_id, :slot, :generation, :at, :address, :agent)
ON CONFLICT (session_id, slot) DO UPDATE SET
    generation = excluded.generation, at = excluded.at, address = excluded.address, agent = excluded.agent

-- name: rotations_of(session_id)
SELECT generation, at, address, agent FROM rotations WHERE session_id = :session_id ORDER BY generation DESC

-- name: session_renew_cookie(session_id, now, key_id, idle_until)^
UPDATE sessions SET cookie_generation = cookie_generation + 1, cookie_presented_at = NULL,
    cookie_rotated_at = :now, last_seen_at = :now, key_id = :key_id, idle_until = :idle_until
WHERE session_id = :session_id
RETURNING {session}

-- name: session_mark_presented(session_id, generation, now)!
UPDATE sessions SET presented_at = :now
WHERE session_id = :session_id AND generation = :generation AND presented_at IS NULL

-- name: session_mark_cookie_presented(session_id, generation, now)!
UPDATE sessions SET cookie_presented_at = :now
WHERE session_id = :session_id AND cookie_generation = :generation AND cookie_presented_at IS NULL

-- name: session_prove(session_id, now)!
UPDATE sessions SET proved_at = :now WHERE session_id = :session_id

-- name: session_rebind(session_id, address, other_address, agent, family)!
UPDATE sessions SET address = :address, other_address = :other_address, agent = :agent, family = :family
WHERE session_id = :session_id

-- name: sessions_outdate_access(user_id)
UPDATE sessions SET min_generation = generation + 1 WHERE user_id = :user_id AND ended_at IS NULL
RETURNING {session}

-- name: session_end(session_id, why, now)!
UPDATE sessions SET ended_at = :now, ended_why = :why WHERE session_id = :session_id AND ended_at IS NULL

-- name: sessions_end_all_of(user_id, keep, why, now)
UPDATE sessions SET ended_at = :now, ended_why = :why
WHERE user_id = :user_id AND session_id <> :keep AND ended_at IS NULL
RETURNING {session}

-- name: sessions_end_beyond(user_id, keep, most, why, now)
-- The limit is none: SQLite knows no OFFSET without one.
UPDATE sessions SET ended_at = :now, ended_why = :why
WHERE ended_at IS NULL AND session_id IN (
    SELECT session_id FROM sessions
    WHERE user_id = :user_id AND session_id <> :keep AND ended_at IS NULL AND idle_until > :now
        AND (absolute_until = 0 OR absolute_until > :now)
    ORDER BY last_seen_at DESC, session_id LIMIT 1000000000 OFFSET :most
)
RETURNING {session}

-- name: sessions_live_of(user_id, now, most)
SELECT {session} FROM sessions
WHERE user_id = :user_id AND ended_at IS NULL AND idle_until > :now
    AND (absolute_until = 0 OR absolute_until > :now)
ORDER BY last_seen_at DESC, session_id LIMIT :most

-- name: sessions_addresses(user_id, family, but, most)
SELECT DISTINCT address FROM sessions WHERE user_id = :user_id AND family = :family AND session_id <> :but
LIMIT :most

-- name: sessions_live_page(after, now, most)
SELECT {session} FROM sessions
WHERE session_id > :after AND ended_at IS NULL AND idle_until > :now
    AND (absolute_until = 0 OR absolute_until > :now)
ORDER BY session_id LIMIT :most

-- name: sessions_count_live(now)$
SELECT count(*) FROM sessions
WHERE ended_at IS NULL AND idle_until > :now AND (absolute_until = 0 OR absolute_until > :now)

-- name: sessions_key_ids(now)
SELECT DISTINCT key_id FROM sessions
WHERE ended_at IS NULL AND idle_until > :now AND (absolute_until = 0 OR absolute_until > :now)

-- name: session_touch(session_id, at, idle_until)*!
UPDATE sessions SET last_seen_at = :at,
    idle_until = CASE WHEN idle_until < :idle_until THEN :idle_until ELSE idle_until END
WHERE session_id = :session_id AND ended_at IS NULL AND last_seen_at < :at

-- name: sessions_stretch_end(start, most)$
-- The last of the next few sessions, in the order of their ids.
SELECT max(session_id) FROM (
    SELECT session_id FROM sessions WHERE session_id > :start ORDER BY session_id LIMIT :most
) AS stretch

-- name: sessions_purge(start, last, before)
DELETE FROM sessions
WHERE session_id > :start AND session_id <= :last
    AND (ended_at < :before OR idle_until < :before OR (absolute_until > 0 AND absolute_until < :before))
RETURNING session_id

-- name: rotations_drop(session_id)*!
DELETE FROM rotations WHERE session_id = :session_id

-- name: rotations_purge(start, last, before)!
DELETE FROM rotations WHERE session_id > :start AND session_id <= :last AND at < :before
