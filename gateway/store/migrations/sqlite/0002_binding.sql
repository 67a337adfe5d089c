-- Where a session's owner proved themselves besides its own address: an address of the other family (IPv4 and
-- IPv6), so that a client which has both is bound to both.

ALTER TABLE sessions ADD COLUMN other_address TEXT NOT NULL DEFAULT '';
