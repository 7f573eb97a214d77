-- When a tenant's transcripts are to be looked through again, in place of when they last were: how long that is depends on what
-- was found. Nodes of an earlier version erase nothing for its age from then on, until they are started again with the new one.
ALTER TABLE transcript_expiry RENAME COLUMN expired_through TO due_at;

-- The feed as a chain: each change gets a random id, and names the one before. By numbers alone a node could not tell what it
-- knows from what a database that was restored, or a standby that lacked the last changes, has counted since.
ALTER TABLE access_sequence ADD COLUMN change_id uuid NOT NULL DEFAULT gen_random_uuid();
-- null in what is older than these columns
ALTER TABLE access_events ADD COLUMN change_id uuid, ADD COLUMN follows uuid;

CREATE OR REPLACE FUNCTION access_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    number bigint;
    previous uuid;
    name uuid := gen_random_uuid();
    changed jsonb := to_jsonb(CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END);
BEGIN
    -- Nobody else writes it: access_change_begins has the lock.
    SELECT change_id INTO STRICT previous FROM access_sequence;
    UPDATE access_sequence SET value = value + 1, change_id = name RETURNING value INTO STRICT number;
    INSERT INTO access_events (sequence, change_id, follows, tenant_id, subject, subject_id, change)
    VALUES (number, name, previous, (changed ->> 'tenant_id')::uuid, TG_ARGV[0], changed ->> TG_ARGV[1], lower(TG_OP));
    -- Nodes poll as well, because a notification is lost on whoever is not connected: the number is enough.
    PERFORM pg_notify('hansard_access', number::text);
    RETURN NULL;
END
$$;

CREATE FUNCTION access_position() RETURNS TABLE (sequence bigint, change_id uuid) LANGUAGE sql STABLE AS $$
    SELECT s.value, s.change_id FROM access_sequence s
$$;

SELECT make_door('access_position()');
