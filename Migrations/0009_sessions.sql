-- Past sessions, as lists show them: how each ended stands beside what it used, so that no list needs the connection store,
-- which may be another one and forgets.

ALTER TABLE usage_rows
    -- null in all four where it was not kept: in rows that are older than these columns
    ADD COLUMN state text CHECK (state IN ('storing', 'completed', 'interrupted', 'failed', 'terminated')),
    ADD COLUMN reason text,
    ADD COLUMN finals bigint CHECK (finals >= 0),
    -- it may have been deleted since
    ADD COLUMN has_transcript boolean,
    ADD CHECK (num_nulls(state, reason, finals, has_transcript) IN (0, 4));

UPDATE usage_rows AS u
SET state = s.state, reason = s.reason, finals = s.finals,
    -- what waits will be stored
    has_transcript = s.transcript_location IS NOT NULL OR s.state = 'storing'
FROM session_status AS s
WHERE s.session_id = u.session_id AND s.tenant_id = u.tenant_id;

-- Lists are newest first. A session's id begins with its start, so that the order of ids is that of time, and the primary
-- key is the index of a tenant's list. With a filter, and without a tenant, the order must come from an index as well: else
-- a page of rare ones would read through all the others.
CREATE INDEX usage_rows_by_tenant_and_state ON usage_rows (tenant_id, state, session_id);
CREATE INDEX usage_rows_by_tenant_and_engine ON usage_rows (tenant_id, engine, session_id);
CREATE INDEX usage_rows_by_key ON usage_rows (key_id, session_id);
-- Operators' lists of all tenants. The condition is true of every row, and only statements that repeat it can use these: under
-- a tenant's policy they would have the right order too, with the rows of everybody else between the tenant's own.
CREATE INDEX usage_rows_by_session ON usage_rows (session_id) WHERE channels > 0;
CREATE INDEX usage_rows_by_state ON usage_rows (state, session_id) WHERE channels > 0;
CREATE INDEX usage_rows_by_engine ON usage_rows (engine, session_id) WHERE channels > 0;

-- The same door with how sessions ended. An empty state is none: arrays that nodes send have no nulls. An outcome goes from
-- none or 'storing' to an end, and never back.
DROP FUNCTION record_usage(uuid[], uuid[], text[], text[], text[], text[], text[], text[], bigint[], bigint[], bigint[],
    bigint[], timestamptz[], timestamptz[]);

CREATE FUNCTION record_usage(
    tenants uuid[], sessions uuid[], keys text[], engines text[], models text[], languages text[], tag_lists text[],
    regions text[], channel_counts bigint[], audio bigint[], engine bigint[], connected bigint[],
    starts timestamptz[], ends timestamptz[], states text[], reasons text[], final_counts bigint[], left_transcript boolean[]
) RETURNS void LANGUAGE sql AS $$
    INSERT INTO usage_rows AS known (tenant_id, session_id, key_id, engine, model, language, tags, region, channels,
        audio_ms, engine_ms, connected_ms, started_at, ended_at, state, reason, finals, has_transcript)
    SELECT u.tenant_id, u.session_id, u.key_id, u.engine, u.model, u.language,
        ARRAY(SELECT tag FROM jsonb_array_elements_text(u.tags::jsonb) WITH ORDINALITY AS t (tag, place)
            ORDER BY place),
        u.region, u.channels, u.audio_ms, u.engine_ms, u.connected_ms, u.started_at, u.ended_at,
        nullif(u.state, ''), CASE WHEN u.state <> '' THEN u.reason END, CASE WHEN u.state <> '' THEN u.finals END,
        CASE WHEN u.state <> '' THEN u.has_transcript END
    FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
        AS u (tenant_id, session_id, key_id, engine, model, language, tags, region, channels, audio_ms, engine_ms,
            connected_ms, started_at, ended_at, state, reason, finals, has_transcript)
    ON CONFLICT (tenant_id, session_id) DO UPDATE
    SET audio_ms = greatest(known.audio_ms, excluded.audio_ms),
        engine_ms = greatest(known.engine_ms, excluded.engine_ms),
        connected_ms = greatest(known.connected_ms, excluded.connected_ms),
        ended_at = greatest(known.ended_at, excluded.ended_at),
        state = CASE WHEN excluded.state IS NULL OR known.state <> 'storing' THEN known.state ELSE excluded.state END,
        reason = CASE WHEN excluded.state IS NULL OR known.state <> 'storing' THEN known.reason ELSE excluded.reason END,
        finals = CASE WHEN excluded.state IS NULL OR known.state <> 'storing' THEN known.finals ELSE excluded.finals END,
        has_transcript = CASE WHEN excluded.state IS NULL OR known.state <> 'storing' THEN known.has_transcript
            ELSE excluded.has_transcript END
    WHERE (excluded.audio_ms, excluded.engine_ms, excluded.connected_ms, excluded.ended_at, excluded.state)
        IS DISTINCT FROM (known.audio_ms, known.engine_ms, known.connected_ms, known.ended_at, known.state)
$$;

SELECT make_door('record_usage(uuid[], uuid[], text[], text[], text[], text[], text[], text[], bigint[], bigint[], bigint[],
    bigint[], timestamptz[], timestamptz[], text[], text[], bigint[], boolean[])');

-- What is done in another store, such as a transcript's deletion, is in the log before it is done. If that store then fails,
-- a second entry of the same call says so.
ALTER TABLE audit_log DROP CONSTRAINT audit_log_outcome_check, ADD CHECK (outcome IN ('done', 'denied', 'failed'));

-- A node's live use: another door.
CREATE FUNCTION sessions_held_by(of_node text, of_epoch uuid) RETURNS TABLE (tenant_id uuid, sessions bigint)
LANGUAGE sql STABLE AS $$
    SELECT l.tenant_id, count(*) FROM leases AS l WHERE l.epoch = of_epoch AND l.node = of_node GROUP BY l.tenant_id
$$;

SELECT make_door('sessions_held_by(text, uuid)');
