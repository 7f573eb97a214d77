-- What is known of a lost node's session beyond its records is a part of its own, the surplus: never more than what is missing.
--
-- Until now it raised the total of the segment that was the last one known. But a lease tells of the session as a whole, and a
-- node that comes back may bring segments that nobody knew of: their time was counted twice. Nor was a higher figure taken.
--
--     surplus = max(0, what was told of the session - the sum of its node's segments)
--
-- It is a segment like others, so that all that is made of totals and marks is made of it too: reports, sums, events, bills. Its
-- number is one that no node gives, the highest. It is the one segment that is computed and not raised: whoever brings records of
-- a session, or a higher figure, computes it anew in the same transaction, and it goes down as the node's own records arrive, to
-- nothing at last. Where it is, in which month, at which hour and of which engine, stays as it was when it was first there: what
-- was billed and told of it is then taken back in the same place. Hours that change are summed up and told again as ever, and a
-- month that is closed gets an adjustment, which may be below zero.
--
-- Its records, those of the reapers, are its history: each says what it was from then on. The last one counts, not the highest.

-- Of a surplus: whether the session counts as one that began with it, since its first segment is not here.
ALTER TABLE usage_segments ADD COLUMN begins boolean NOT NULL DEFAULT false;

-- Whether what is known counts: since its node's life was given up.
ALTER TABLE usage_reaped ADD COLUMN is_counted boolean NOT NULL DEFAULT false;

CREATE INDEX usage_reaped_counted ON usage_reaped (tenant_id, session_id) WHERE is_counted;

-- Brings the surpluses of sessions up to date, as far as they are counted, and says how many have changed. It sees what was
-- committed before each of its statements, and is called where nothing else is the case.
CREATE FUNCTION settle_surpluses(tenants uuid[], sessions uuid[]) RETURNS bigint LANGUAGE plpgsql
SET search_path = public, pg_temp AS $$
DECLARE
    surplus CONSTANT integer := 2147483647;
    changed bigint;
BEGIN
    -- Of most sessions nobody has told anything. They are looked up one by one, or all that was ever told would be read; OFFSET
    -- keeps the planner from that.
    IF NOT EXISTS (
        SELECT FROM unnest(tenants, sessions) AS g (tenant_id, session_id) CROSS JOIN LATERAL (
            SELECT FROM usage_reaped AS r WHERE r.tenant_id = g.tenant_id AND r.session_id = g.session_id AND r.is_counted
            OFFSET 0
        ) AS t)
    THEN
        RETURN 0;
    END IF;
    -- Two who bring different segments of a session come here one after the other: the second one sees what the first has left.
    PERFORM FROM usage_reaped AS r
    WHERE (r.tenant_id, r.session_id) IN (SELECT * FROM unnest(tenants, sessions)) AND r.is_counted
    ORDER BY r.tenant_id, r.session_id FOR UPDATE;
    -- The records of a month may be gone while its totals are there.
    PERFORM ensure_usage_partitions(m.period)
    FROM (
        SELECT date_trunc('month', r.started_at AT TIME ZONE 'UTC')::date AS period FROM usage_reaped AS r
        WHERE (r.tenant_id, r.session_id) IN (SELECT * FROM unnest(tenants, sessions)) AND r.is_counted
        UNION
        SELECT s.period FROM usage_reaped AS r JOIN usage_segments AS s USING (tenant_id, session_id)
        WHERE (r.tenant_id, r.session_id) IN (SELECT * FROM unnest(tenants, sessions)) AND r.is_counted
    ) AS m;

    WITH lost AS (
        SELECT r.tenant_id, r.session_id, r.key_id, r.region, m.period, l.engine, l.model, l.language, l.tags, l.channels,
            coalesce(k.session_started_at, l.session_started_at, r.started_at) AS session_started_at,
            coalesce(l.last_at, r.started_at) AS started_at,
            least(greatest(l.last_at, r.found_at, r.started_at),
                (m.period + interval '1 month') AT TIME ZONE 'UTC' - interval '1 millisecond') AS last_at,
            greatest(r.audio_ms - n.audio_ms, 0) AS audio_ms, n.is_begun, k.period IS NOT NULL AS is_known
        FROM usage_reaped AS r
        -- The surplus as it is,
        LEFT JOIN LATERAL (
            SELECT t.period, t.session_started_at FROM usage_segments AS t
            WHERE t.tenant_id = r.tenant_id AND t.session_id = r.session_id AND t.segment = surplus
        ) AS k ON true
        -- the last segment of the node's,
        LEFT JOIN LATERAL (
            SELECT * FROM usage_segments AS t
            WHERE t.tenant_id = r.tenant_id AND t.session_id = r.session_id AND t.segment < surplus
            ORDER BY t.segment DESC LIMIT 1
        ) AS l ON true
        -- and all of these.
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(t.audio_ms), 0)::bigint AS audio_ms, coalesce(bool_or(t.segment = 0), false) AS is_begun
            FROM usage_segments AS t
            WHERE t.tenant_id = r.tenant_id AND t.session_id = r.session_id AND t.segment < surplus
        ) AS n
        CROSS JOIN LATERAL (
            SELECT coalesce(k.period, l.period, date_trunc('month', r.started_at AT TIME ZONE 'UTC')::date) AS period
        ) AS m
        WHERE (r.tenant_id, r.session_id) IN (SELECT * FROM unnest(tenants, sessions)) AND r.is_counted
    ), totals AS (
        INSERT INTO usage_segments AS known (tenant_id, session_id, segment, period, key_id, engine, model, language, tags,
            region, channels, session_started_at, started_at, last_at, audio_before_ms, connected_before_ms, audio_ms,
            connected_ms, engine_ms, is_final, begins)
        SELECT l.tenant_id, l.session_id, surplus, l.period, l.key_id, coalesce(l.engine, 'unknown'), coalesce(l.model, ''),
            coalesce(l.language, 'unknown'), coalesce(l.tags, '{}'), l.region, coalesce(l.channels, 1), l.session_started_at,
            l.started_at, l.last_at, 0, 0, l.audio_ms, 0, l.audio_ms, true,
            -- A month has the sessions that began in it.
            NOT l.is_begun AND date_trunc('month', l.session_started_at AT TIME ZONE 'UTC')::date = l.period
        FROM lost AS l WHERE l.audio_ms > 0 OR l.is_known
        ORDER BY l.tenant_id, l.session_id
        ON CONFLICT (tenant_id, session_id, segment, period) DO UPDATE
        SET audio_ms = excluded.audio_ms, engine_ms = excluded.engine_ms, begins = excluded.begins
        WHERE (known.audio_ms, known.begins) <> (excluded.audio_ms, excluded.begins)
        RETURNING *
    ), records AS (
        INSERT INTO usage_records (tenant_id, session_id, segment, source, seq, period, made_at, audio_ms, connected_ms,
            engine_ms, is_final)
        SELECT t.tenant_id, t.session_id, t.segment, 'reaper', (
                SELECT coalesce(max(r.seq) + 1, 0) FROM usage_records AS r
                WHERE r.tenant_id = t.tenant_id AND r.session_id = t.session_id AND r.segment = t.segment
                    AND r.source = 'reaper' AND r.period = t.period),
            t.period, t.last_at, t.audio_ms, t.connected_ms, t.engine_ms, t.is_final
        FROM totals AS t
    ), marks AS (
        INSERT INTO usage_marks AS known (tenant_id, session_id, segment, period, hour, audio_ms, connected_ms, engine_ms,
            begins)
        SELECT t.tenant_id, t.session_id, t.segment, t.period, h.hour, max(h.audio_ms), 0, max(h.audio_ms), bool_or(h.begins)
        FROM totals AS t CROSS JOIN LATERAL (
            SELECT date_trunc('hour', t.last_at, 'UTC') AS hour, t.audio_ms, false AS begins
            UNION ALL
            SELECT date_trunc('hour', t.session_started_at, 'UTC'), 0, t.begins
            WHERE date_trunc('month', t.session_started_at AT TIME ZONE 'UTC')::date = t.period
        ) AS h
        GROUP BY t.tenant_id, t.session_id, t.segment, t.period, h.hour
        ON CONFLICT (tenant_id, session_id, segment, hour, period) DO UPDATE
        SET audio_ms = excluded.audio_ms, engine_ms = excluded.engine_ms, begins = excluded.begins
        RETURNING tenant_id, hour
    ), dirty AS (
        INSERT INTO usage_dirty_hours (tenant_id, hour) SELECT DISTINCT m.tenant_id, m.hour FROM marks AS m
    )
    SELECT count(*) INTO changed FROM totals;
    RETURN changed;
END
$$;

REVOKE ALL ON FUNCTION settle_surpluses FROM PUBLIC;
GRANT EXECUTE ON FUNCTION settle_surpluses TO hansard_doors;

-- As 0014_ledger.sql has it; and records of nodes alone are taken, and lower the surplus of their session.
CREATE OR REPLACE FUNCTION ingest_usage(
    tenants uuid[], sessions uuid[], segments bigint[], sources text[], seqs bigint[], periods text[],
    moments timestamptz[], audio bigint[], connected bigint[], engine bigint[], finals boolean[],
    keys text[], engines text[], models text[], languages text[], tag_lists text[], regions text[], channel_counts bigint[],
    session_starts timestamptz[], starts timestamptz[], audio_before bigint[], connected_before bigint[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    surplus CONSTANT integer := 2147483647;
    fresh_numbers bigint[];
BEGIN
    IF EXISTS (
        SELECT FROM unnest(sources, segments) AS g (source, segment) WHERE g.source <> 'node' OR g.segment >= surplus)
    THEN
        RAISE EXCEPTION 'records are those of nodes: what a lost one''s sessions have beyond them is computed'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- Whoever begins to count sessions waits until this is committed, and is waited for: one of the two sees what the other did.
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('hansard.reaped_usage', 0));
    PERFORM ensure_usage_partitions((p || '-01')::date) FROM (SELECT DISTINCT unnest(periods)) AS t (p);

    -- Whoever brings records of the same segments waits here, at the rows of their totals: the second statement then sees what
    -- the other one has left.
    WITH given AS MATERIALIZED (
        SELECT g.tenant_id, g.session_id, g.segment::integer, g.source, g.seq::integer, (g.period || '-01')::date AS period,
            g.made_at, g.audio_ms, g.connected_ms, g.engine_ms, g.is_final, g.key_id, g.engine, g.model, g.language, g.tags,
            g.region, g.channels::integer, g.session_started_at, g.started_at, g.audio_before_ms, g.connected_before_ms,
            g.number
        FROM unnest(tenants, sessions, segments, sources, seqs, periods, moments, audio, connected, engine, finals, keys,
            engines, models, languages, tag_lists, regions, channel_counts, session_starts, starts, audio_before,
            connected_before) WITH ORDINALITY
            AS g (tenant_id, session_id, segment, source, seq, period, made_at, audio_ms, connected_ms, engine_ms, is_final,
                key_id, engine, model, language, tags, region, channels, session_started_at, started_at,
                audio_before_ms, connected_before_ms, number)
    ), fresh AS (
        INSERT INTO usage_records (tenant_id, session_id, segment, source, seq, period, made_at, audio_ms, connected_ms,
            engine_ms, is_final)
        SELECT g.tenant_id, g.session_id, g.segment, g.source, g.seq, g.period, g.made_at, g.audio_ms, g.connected_ms,
            g.engine_ms, g.is_final
        FROM given AS g
        ON CONFLICT (tenant_id, session_id, segment, source, seq, period) DO NOTHING
        RETURNING tenant_id, session_id, segment, source, seq, period
    ), news AS MATERIALIZED (
        SELECT DISTINCT ON (tenant_id, session_id, segment, source, seq, period) g.*
        FROM given AS g JOIN fresh AS f USING (tenant_id, session_id, segment, source, seq, period)
    ), totals AS (
        INSERT INTO usage_segments AS known (tenant_id, session_id, segment, period, key_id, engine, model, language, tags,
            region, channels, session_started_at, started_at, last_at, audio_before_ms, connected_before_ms, audio_ms,
            connected_ms, engine_ms, is_final)
        SELECT n.tenant_id, n.session_id, n.segment, n.period, min(n.key_id), min(n.engine), min(n.model), min(n.language),
            ARRAY(SELECT tag FROM jsonb_array_elements_text(min(n.tags)::jsonb) WITH ORDINALITY AS t (tag, place)
                ORDER BY place),
            min(n.region), max(n.channels), min(n.session_started_at), min(n.started_at), max(n.made_at),
            max(n.audio_before_ms), max(n.connected_before_ms), max(n.audio_ms), max(n.connected_ms), max(n.engine_ms),
            bool_or(n.is_final)
        FROM news AS n GROUP BY n.tenant_id, n.session_id, n.segment, n.period
        -- Rows are locked in one order.
        ORDER BY n.tenant_id, n.session_id, n.segment
        ON CONFLICT (tenant_id, session_id, segment, period) DO UPDATE
        SET channels = greatest(known.channels, excluded.channels), last_at = greatest(known.last_at, excluded.last_at),
            audio_ms = greatest(known.audio_ms, excluded.audio_ms),
            connected_ms = greatest(known.connected_ms, excluded.connected_ms),
            engine_ms = greatest(known.engine_ms, excluded.engine_ms), is_final = known.is_final OR excluded.is_final
    )
    SELECT array_agg(n.number) INTO fresh_numbers FROM news AS n;
    IF fresh_numbers IS NULL THEN
        RETURN 0;
    END IF;

    WITH news AS MATERIALIZED (
        SELECT g.tenant_id, g.session_id, g.segment::integer, (g.period || '-01')::date AS period, g.audio_ms, g.connected_ms,
            g.engine_ms, date_trunc('hour', g.made_at, 'UTC') AS hour,
            date_trunc('hour', g.session_started_at, 'UTC') AS began_in
        FROM unnest(tenants, sessions, segments, periods, moments, audio, connected, engine, session_starts) WITH ORDINALITY
            AS g (tenant_id, session_id, segment, period, made_at, audio_ms, connected_ms, engine_ms, session_started_at,
                number)
        WHERE g.number = ANY (fresh_numbers)
    ), hours AS (
        SELECT n.tenant_id, n.session_id, n.segment, n.period, n.hour, n.audio_ms, n.connected_ms, n.engine_ms,
            n.segment = 0 AND n.hour = n.began_in AS begins
        FROM news AS n
        UNION ALL
        -- The first record may come after others, or never.
        SELECT n.tenant_id, n.session_id, 0, n.period, n.began_in, 0, 0, 0, true
        FROM news AS n
        WHERE n.segment = 0 AND n.hour <> n.began_in AND NOT EXISTS (
            SELECT FROM usage_marks AS k
            WHERE k.tenant_id = n.tenant_id AND k.session_id = n.session_id AND k.segment = 0 AND k.period = n.period
                AND k.hour = n.began_in AND k.begins)
    ), marks AS (
        INSERT INTO usage_marks AS known (tenant_id, session_id, segment, period, hour, audio_ms, connected_ms, engine_ms,
            begins)
        SELECT h.tenant_id, h.session_id, h.segment, h.period, h.hour, max(h.audio_ms), max(h.connected_ms),
            max(h.engine_ms), bool_or(h.begins)
        FROM hours AS h GROUP BY h.tenant_id, h.session_id, h.segment, h.period, h.hour
        ORDER BY h.tenant_id, h.session_id, h.segment, h.hour
        ON CONFLICT (tenant_id, session_id, segment, hour, period) DO UPDATE
        SET audio_ms = greatest(known.audio_ms, excluded.audio_ms),
            connected_ms = greatest(known.connected_ms, excluded.connected_ms),
            engine_ms = greatest(known.engine_ms, excluded.engine_ms), begins = known.begins OR excluded.begins
        WHERE (greatest(known.audio_ms, excluded.audio_ms), greatest(known.connected_ms, excluded.connected_ms),
                greatest(known.engine_ms, excluded.engine_ms), known.begins OR excluded.begins)
            IS DISTINCT FROM (known.audio_ms, known.connected_ms, known.engine_ms, known.begins)
        RETURNING tenant_id, session_id, segment, period, hour
    )
    INSERT INTO usage_dirty_hours (tenant_id, hour)
    SELECT m.tenant_id, m.hour FROM marks AS m
    UNION
    -- What a later hour has is counted from here.
    SELECT m.tenant_id, later.hour FROM marks AS m CROSS JOIN LATERAL (
        SELECT k.hour FROM usage_marks AS k
        WHERE k.tenant_id = m.tenant_id AND k.session_id = m.session_id AND k.segment = m.segment
            AND k.period = m.period AND k.hour > m.hour
    ) AS later;
    PERFORM settle_surpluses(tenants, sessions);
    RETURN cardinality(fresh_numbers);
END
$$;

-- As 0014_ledger.sql has it; and what is told of a session whose node's life is given up counts at once, as does more of one
-- that counts already.
CREATE OR REPLACE FUNCTION note_reaped_usage(
    tenants uuid[], sessions uuid[], nodes text[], epochs uuid[], keys text[], regions text[], starts timestamptz[],
    moments timestamptz[], audio bigint[]
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- Whoever gives one of these lives up at this moment waits, and counts this as well; or is waited for.
    PERFORM FROM usage_sources AS s WHERE (s.node, s.epoch) IN (SELECT * FROM unnest(nodes, epochs)) FOR SHARE;
    IF EXISTS (
        SELECT FROM usage_sources AS s
        WHERE (s.node, s.epoch) IN (SELECT * FROM unnest(nodes, epochs)) AND s.retired_at IS NOT NULL)
    THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('hansard.reaped_usage', 0));
    END IF;
    INSERT INTO usage_reaped AS known (tenant_id, session_id, node, epoch, key_id, region, started_at, found_at, audio_ms,
        is_counted)
    SELECT DISTINCT ON (g.tenant_id, g.session_id) g.*, EXISTS (
        SELECT FROM usage_sources AS s WHERE s.node = g.node AND s.epoch = g.epoch AND s.retired_at IS NOT NULL)
    FROM unnest(tenants, sessions, nodes, epochs, keys, regions, starts, moments, audio)
        AS g (tenant_id, session_id, node, epoch, key_id, region, started_at, found_at, audio_ms)
    ORDER BY g.tenant_id, g.session_id, g.audio_ms DESC
    ON CONFLICT (tenant_id, session_id) DO UPDATE
    SET audio_ms = greatest(known.audio_ms, excluded.audio_ms), is_counted = known.is_counted OR excluded.is_counted
    WHERE excluded.audio_ms > known.audio_ms OR excluded.is_counted AND NOT known.is_counted;
    PERFORM settle_surpluses(tenants, sessions);
END
$$;

-- A life of a node is given up: what its sessions' leases told beyond what is here counts, and what they will be found to have
-- told. It stays so if the life comes back after all: its records take the surplus away. Says of how many sessions there is
-- something that there was not.
CREATE OR REPLACE FUNCTION count_reaped_usage(of_node text, of_epoch uuid) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    tenants uuid[];
    sessions uuid[];
BEGIN
    -- Who brings records at this moment may not know that they are of these sessions, nor are these records seen here.
    PERFORM pg_advisory_xact_lock(hashtextextended('hansard.reaped_usage', 0));
    UPDATE usage_reaped AS r SET is_counted = true WHERE r.epoch = of_epoch AND r.node = of_node AND NOT r.is_counted;
    SELECT array_agg(r.tenant_id ORDER BY r.session_id), array_agg(r.session_id ORDER BY r.session_id)
    INTO tenants, sessions
    FROM usage_reaped AS r WHERE r.epoch = of_epoch AND r.node = of_node;
    RETURN settle_surpluses(tenants, sessions);
END
$$;

SELECT make_door(door) FROM unnest(ARRAY[
    'ingest_usage(uuid[], uuid[], bigint[], text[], bigint[], text[], timestamptz[], bigint[], bigint[], bigint[], boolean[],
        text[], text[], text[], text[], text[], text[], bigint[], timestamptz[], timestamptz[], bigint[], bigint[])',
    'note_reaped_usage(uuid[], uuid[], text[], uuid[], text[], text[], timestamptz[], timestamptz[], bigint[])',
    'count_reaped_usage(text, uuid)'
]::regprocedure[]) AS door;

-- What was counted in segments until now is taken out of them, as far as their records are there. The record stays, with
-- nothing: of a session that nothing else was known of, it is the one that says that the session began.
CREATE TEMPORARY TABLE counted ON COMMIT DROP AS
SELECT r.tenant_id, r.session_id, r.segment, r.period, r.recorded_at
FROM usage_records AS r JOIN usage_reaped USING (tenant_id, session_id) WHERE r.source = 'reaper';

UPDATE usage_records AS r SET (audio_ms, connected_ms, engine_ms) = (0, 0, 0)
FROM counted AS c
WHERE r.tenant_id = c.tenant_id AND r.session_id = c.session_id AND r.segment = c.segment AND r.period = c.period
    AND r.source = 'reaper';

UPDATE usage_segments AS s SET (audio_ms, connected_ms, engine_ms) = (
    SELECT max(r.audio_ms), max(r.connected_ms), max(r.engine_ms) FROM usage_records AS r
    WHERE r.tenant_id = s.tenant_id AND r.session_id = s.session_id AND r.segment = s.segment AND r.period = s.period)
FROM counted AS c
WHERE s.tenant_id = c.tenant_id AND s.session_id = c.session_id AND s.segment = c.segment AND s.period = c.period;

WITH lowered AS (
    UPDATE usage_marks AS m SET (audio_ms, connected_ms, engine_ms) = (
        SELECT coalesce(max(r.audio_ms), 0), coalesce(max(r.connected_ms), 0), coalesce(max(r.engine_ms), 0)
        FROM usage_records AS r
        WHERE r.tenant_id = m.tenant_id AND r.session_id = m.session_id AND r.segment = m.segment AND r.period = m.period
            AND date_trunc('hour', r.made_at, 'UTC') = m.hour)
    FROM counted AS c
    WHERE m.tenant_id = c.tenant_id AND m.session_id = c.session_id AND m.segment = c.segment AND m.period = c.period
    RETURNING m.tenant_id, m.hour
)
INSERT INTO usage_dirty_hours (tenant_id, hour) SELECT DISTINCT tenant_id, hour FROM lowered;

UPDATE usage_reaped AS p SET is_counted = true FROM counted AS c
WHERE p.tenant_id = c.tenant_id AND p.session_id = c.session_id;

DO $$ BEGIN
    PERFORM settle_surpluses(array_agg(tenant_id), array_agg(session_id)) FROM counted;
END $$;

-- Invoices that have it were made since it was counted first.
UPDATE usage_records AS r SET recorded_at = c.recorded_at
FROM counted AS c
WHERE r.tenant_id = c.tenant_id AND r.session_id = c.session_id AND r.segment = 2147483647;
