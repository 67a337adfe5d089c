-- Roles: names for sets of permissions, and who has them.

-- name: role_insert(name, permissions, now)!
INSERT INTO roles (name, permissions, created_at) VALUES (:name, :permissions, :now)

-- name: roles_all()
SELECT name, permissions, created_at FROM roles ORDER BY name

-- name: role_by_name(name)^
SELECT name, permissions, created_at FROM roles WHERE name = :name

-- name: role_update(name, permissions)!
UPDATE roles SET permissions = :permissions WHERE name = :name

-- name: role_delete(name)!
DELETE FROM roles WHERE name = :name

-- name: role_grant(user_id, role, granted_by, now)!
INSERT INTO user_roles (user_id, role, granted_at, granted_by) VALUES (:user_id, :role, :now, :granted_by)
ON CONFLICT (user_id, role) DO NOTHING

-- name: role_withdraw(user_id, role)!
DELETE FROM user_roles WHERE user_id = :user_id AND role = :role

-- name: roles_of(user_id)
SELECT r.name, r.permissions FROM user_roles g JOIN roles r ON r.name = g.role
WHERE g.user_id = :user_id ORDER BY r.name

-- name: role_holders(role)
SELECT user_id FROM user_roles WHERE role = :role ORDER BY user_id

-- name: roles_able(quoted, passwords, confirmed)$
-- How many can sign in and have a role with this permission, as it stands in JSON.
SELECT count(DISTINCT u.user_id)
FROM users u JOIN user_roles g ON g.user_id = u.user_id JOIN roles r ON r.name = g.role
WHERE u.locked_at IS NULL AND replace(r.permissions, :quoted, '') <> r.permissions
    AND (:passwords = 0 OR u.password_hash IS NOT NULL) AND (:confirmed = 0 OR u.confirmed)
