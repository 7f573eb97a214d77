-- When a tenant's transcripts are to be looked through again, in place of when they last were: how long that is depends on what
-- was found. Nodes of an earlier version erase nothing for its age from then on, until they are started again with the new one.
ALTER TABLE transcript_expiry RENAME COLUMN expired_through TO due_at;
