-- Rows that only grow are taken out again once nobody needs them: the feed by which nodes learn of changes, answers that are
-- kept for repeated calls, and counts of minutes and months that are long over. The audit log, usage and the statuses of
-- sessions stay.

-- When all that was due was last gone, so that one node does it.
CREATE TABLE pruning (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    pruned_at timestamptz NOT NULL
);

INSERT INTO pruning (pruned_at) VALUES ('-infinity');
SELECT isolate_table('pruning');

CREATE INDEX access_events_of_commands ON access_events (subject_id) WHERE subject = 'command';
CREATE INDEX minute_quotas_by_period ON minute_quotas (period);
CREATE INDEX minute_grants_by_period ON minute_grants (period);
CREATE INDEX reaped_sessions_by_time ON reaped_sessions (reaped_at);

-- FOR UPDATE wants UPDATE.
GRANT SELECT, UPDATE, DELETE ON access_events, node_commands, kept_answers, minute_quotas TO hansard_doors;
GRANT SELECT, UPDATE ON pruning TO hansard_doors;

-- One round: at most so many rows of each table, and how many they were. No rows are returned if another node is at it, or
-- if all was gone at a time after `due`. What a wrong clock must not take out is kept whatever the arguments say.
--
-- Rows that somebody else is at are left for the next time, so that pruning waits for nobody and nobody long for it.
CREATE FUNCTION prune_rows(
    at_time timestamptz, due timestamptz, at_most bigint, feed_before timestamptz, answers_before timestamptz,
    counts_before timestamptz
) RETURNS TABLE (relation text, pruned bigint) LANGUAGE plpgsql AS $$
DECLARE
    months_before text;
    most bigint := 0;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('hansard.pruning', 0))
        OR NOT EXISTS (SELECT FROM pruning p WHERE p.pruned_at < due)
    THEN
        RETURN;
    END IF;
    feed_before := least(feed_before, now() - interval '1 hour');
    answers_before := least(answers_before, now() - interval '24 hours');
    counts_before := least(counts_before, now() - interval '100 days');
    months_before := to_char(counts_before AT TIME ZONE 'UTC', 'YYYY-MM');

    -- From the front alone: nodes know by the first number that is there whether they have missed any. Times need not follow
    -- the numbers, since they are when a transaction began.
    relation := 'access_events';
    WITH oldest AS (
        SELECT e.sequence, e.occurred_at FROM access_events e ORDER BY e.sequence LIMIT at_most
    )
    DELETE FROM access_events e USING oldest o
    WHERE e.sequence = o.sequence AND e.sequence < coalesce(
        (SELECT min(y.sequence) FROM oldest y WHERE y.occurred_at >= feed_before), 9223372036854775807);
    GET DIAGNOSTICS pruned = ROW_COUNT;
    most := greatest(most, pruned);
    RETURN NEXT;

    -- A command is there for as long as the feed names it: its time is a node's.
    relation := 'node_commands';
    DELETE FROM node_commands WHERE command_id IN (
        SELECT c.command_id FROM node_commands c WHERE c.given_at < feed_before AND NOT EXISTS (
            SELECT FROM access_events e WHERE e.subject = 'command' AND e.subject_id = c.command_id::text)
        ORDER BY c.given_at LIMIT at_most FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS pruned = ROW_COUNT;
    most := greatest(most, pruned);
    RETURN NEXT;

    relation := 'kept_answers';
    DELETE FROM kept_answers WHERE (caller, route, idempotency_key) IN (
        SELECT a.caller, a.route, a.idempotency_key FROM kept_answers a WHERE a.kept_at < answers_before
        ORDER BY a.kept_at LIMIT at_most FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS pruned = ROW_COUNT;
    most := greatest(most, pruned);
    RETURN NEXT;

    relation := 'minute_grants';
    DELETE FROM minute_grants WHERE (owner, period, node, epoch) IN (
        SELECT g.owner, g.period, g.node, g.epoch FROM minute_grants g WHERE g.period < months_before
        ORDER BY g.period LIMIT at_most FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS pruned = ROW_COUNT;
    most := greatest(most, pruned);
    RETURN NEXT;

    -- After their grants, which are given back to them.
    relation := 'minute_quotas';
    DELETE FROM minute_quotas WHERE (owner, period) IN (
        SELECT q.owner, q.period FROM minute_quotas q
        WHERE q.period < months_before AND NOT EXISTS (
            SELECT FROM minute_grants g WHERE g.owner = q.owner AND g.period = q.period)
        ORDER BY q.period LIMIT at_most FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS pruned = ROW_COUNT;
    most := greatest(most, pruned);
    RETURN NEXT;

    -- Claims take a few of the next three out as they go; those that no claim comes for stay.
    relation := 'new_sessions';
    DELETE FROM new_sessions WHERE (owner, minute) IN (
        SELECT s.owner, s.minute FROM new_sessions s WHERE s.expires_at < now()
        ORDER BY s.expires_at LIMIT at_most FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS pruned = ROW_COUNT;
    most := greatest(most, pruned);
    RETURN NEXT;

    relation := 'lease_tombstones';
    DELETE FROM lease_tombstones WHERE (tenant_id, session_id) IN (
        SELECT t.tenant_id, t.session_id FROM lease_tombstones t WHERE t.expires_at < now()
        ORDER BY t.expires_at LIMIT at_most FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS pruned = ROW_COUNT;
    most := greatest(most, pruned);
    RETURN NEXT;

    -- Of nodes that never came back to say better how their sessions ended.
    relation := 'reaped_sessions';
    DELETE FROM reaped_sessions WHERE session_id IN (
        SELECT r.session_id FROM reaped_sessions r WHERE r.reaped_at < counts_before
        ORDER BY r.reaped_at LIMIT at_most FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS pruned = ROW_COUNT;
    most := greatest(most, pruned);
    RETURN NEXT;

    IF most < at_most THEN
        UPDATE pruning SET pruned_at = least(at_time, now());
    END IF;
END
$$;

SELECT make_door('prune_rows(timestamptz, timestamptz, bigint, timestamptz, timestamptz, timestamptz)');
