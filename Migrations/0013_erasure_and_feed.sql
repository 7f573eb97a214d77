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

-- What nodes are told by the changes after `last` and up to `through`, in their order; the first so many. The times of commands
-- are those of nodes' clocks. Nodes of an earlier version call commands_for_nodes.
CREATE FUNCTION commands_between(last bigint, through bigint, at_most bigint)
RETURNS TABLE (sequence bigint, command text, target text) LANGUAGE sql STABLE AS $$
    SELECT e.sequence, c.command, c.target
    FROM access_events e JOIN node_commands c ON c.command_id = e.subject_id::uuid
    WHERE e.subject = 'command' AND e.sequence > last AND e.sequence <= through
    ORDER BY e.sequence LIMIT at_most
$$;

SELECT make_door(door) FROM unnest(ARRAY['access_position()', 'commands_between(bigint, bigint, bigint)']::regprocedure[]) AS door;
