-- Facts about this store, by name.

-- name: fact_get(name)$
SELECT value FROM facts WHERE name = :name

-- name: fact_put(name, value)!
INSERT INTO facts (name, value) VALUES (:name, :value)
ON CONFLICT (name) DO UPDATE SET value = excluded.value

-- name: fact_lock(name)!
-- Takes the row's lock, and makes the row for it.
INSERT INTO facts (name, value) VALUES (:name, '')
ON CONFLICT (name) DO UPDATE SET value = facts.value
