-- The usage ledger: what each session used, record by record, exactly once, and what reports are made from.
--
-- Counters are cumulative within a segment, a part of a session at one engine within one month, so that a record that comes
-- twice changes nothing and the highest is the total. Everything else follows from records by GREATEST or is computed anew from
-- what does: no order of arrival and no repetition makes a difference.
--
--     usage_records > usage_segments (totals: what is billed)
--                   > usage_marks (a segment's counters at the end of each hour) > usage_hourly > usage_daily
--
-- Partitions are by month, which is a field of the record itself: by time of arrival, a record that came again after midnight
-- would be another row.

CREATE TABLE usage_records (
    tenant_id uuid NOT NULL,
    session_id uuid NOT NULL,
    segment integer NOT NULL CHECK (segment >= 0),
    -- who made it: the session's node, or whoever found that node dead
    source text NOT NULL CHECK (source IN ('node', 'reaper')),
    seq integer NOT NULL CHECK (seq >= 0),
    -- the first day of the UTC month in which it is billed
    period date NOT NULL CHECK (extract(day FROM period) = 1),
    made_at timestamptz NOT NULL,
    audio_ms bigint NOT NULL CHECK (audio_ms >= 0),
    connected_ms bigint NOT NULL CHECK (connected_ms >= 0),
    engine_ms bigint NOT NULL CHECK (engine_ms >= 0),
    is_final boolean NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, session_id, segment, source, seq, period),
    CHECK (made_at AT TIME ZONE 'UTC' >= period AND made_at AT TIME ZONE 'UTC' < period + interval '1 month')
) PARTITION BY LIST (period);

CREATE TABLE usage_segments (
    tenant_id uuid NOT NULL,
    session_id uuid NOT NULL,
    segment integer NOT NULL,
    period date NOT NULL,
    key_id text NOT NULL,
    engine text NOT NULL,
    model text NOT NULL,
    language text NOT NULL,
    tags text[] NOT NULL,
    region text NOT NULL,
    channels integer NOT NULL CHECK (channels > 0),
    session_started_at timestamptz NOT NULL,
    started_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    -- what the session had before this segment began
    audio_before_ms bigint NOT NULL CHECK (audio_before_ms >= 0),
    connected_before_ms bigint NOT NULL CHECK (connected_before_ms >= 0),
    audio_ms bigint NOT NULL,
    connected_ms bigint NOT NULL,
    engine_ms bigint NOT NULL,
    is_final boolean NOT NULL,
    PRIMARY KEY (tenant_id, session_id, segment, period)
) PARTITION BY LIST (period);

CREATE TABLE usage_marks (
    tenant_id uuid NOT NULL,
    session_id uuid NOT NULL,
    segment integer NOT NULL,
    period date NOT NULL,
    hour timestamptz NOT NULL,
    -- the highest of the records that were made in the hour
    audio_ms bigint NOT NULL,
    connected_ms bigint NOT NULL,
    engine_ms bigint NOT NULL,
    -- whether the session began in it
    begins boolean NOT NULL,
    PRIMARY KEY (tenant_id, session_id, segment, hour, period)
) PARTITION BY LIST (period);

CREATE INDEX usage_marks_by_hour ON usage_marks (tenant_id, hour);

-- No key: tags may be longer than an index entry. An hour's rows are always written together, in place of those before.
CREATE TABLE usage_hourly (
    tenant_id uuid NOT NULL,
    hour timestamptz NOT NULL,
    key_id text NOT NULL,
    engine text NOT NULL,
    model text NOT NULL,
    language text NOT NULL,
    tags text[] NOT NULL,
    region text NOT NULL,
    audio_ms bigint NOT NULL,
    connected_ms bigint NOT NULL,
    engine_ms bigint NOT NULL,
    sessions bigint NOT NULL
);

CREATE INDEX usage_hourly_by_hour ON usage_hourly (tenant_id, hour);

CREATE TABLE usage_daily (
    tenant_id uuid NOT NULL,
    -- the first moment of the UTC day
    day timestamptz NOT NULL,
    key_id text NOT NULL,
    engine text NOT NULL,
    model text NOT NULL,
    language text NOT NULL,
    tags text[] NOT NULL,
    region text NOT NULL,
    audio_ms bigint NOT NULL,
    connected_ms bigint NOT NULL,
    engine_ms bigint NOT NULL,
    sessions bigint NOT NULL
);

CREATE INDEX usage_daily_by_day ON usage_daily (tenant_id, day);

-- The hours that usage_hourly does not have yet, or not as they are now: reports take them from usage_marks. Rows are only ever
-- added and taken out, and an hour may be there many times: whoever rolls up takes out what it sees before it reads the marks,
-- so that what is committed meanwhile stays for the next time and nobody waits for anybody.
CREATE TABLE usage_dirty_hours (
    tenant_id uuid NOT NULL,
    hour timestamptz NOT NULL
);

CREATE INDEX usage_dirty_hours_by_hour ON usage_dirty_hours (tenant_id, hour);

-- The lives of nodes that make records, and up to when each one's are all here.
CREATE TABLE usage_sources (
    node text NOT NULL,
    epoch uuid NOT NULL,
    -- which spool it has; the next life that has the same brings what this one left in it
    spool uuid NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT now(),
    -- by the node's clock
    complete_through timestamptz NOT NULL DEFAULT now(),
    -- when it was known that it is over and that all its records are here
    finished_at timestamptz,
    -- when an operator gave up what it may still have
    retired_at timestamptz,
    PRIMARY KEY (node, epoch)
) WITH (fillfactor = 50);

CREATE INDEX usage_sources_unfinished ON usage_sources (complete_through)
    WHERE finished_at IS NULL AND retired_at IS NULL;

-- What is known of sessions whose node died: as far as their leases told. It counts only once it is certain that the node will
-- never bring its own records, since it cannot be told then to which segment it belongs.
CREATE TABLE usage_reaped (
    tenant_id uuid NOT NULL,
    session_id uuid NOT NULL,
    node text NOT NULL,
    epoch uuid NOT NULL,
    key_id text NOT NULL,
    region text NOT NULL,
    started_at timestamptz NOT NULL,
    found_at timestamptz NOT NULL,
    audio_ms bigint NOT NULL CHECK (audio_ms >= 0),
    PRIMARY KEY (tenant_id, session_id)
);

CREATE INDEX usage_reaped_by_epoch ON usage_reaped (epoch, node);

SELECT isolate_table(relation) FROM unnest(ARRAY[
    'usage_records', 'usage_segments', 'usage_marks', 'usage_hourly', 'usage_daily', 'usage_dirty_hours', 'usage_sources',
    'usage_reaped'
]::regclass[]) AS relation;

GRANT SELECT ON usage_records, usage_segments, usage_marks, usage_hourly, usage_daily, usage_dirty_hours, usage_sources,
    usage_reaped TO hansard_operator;
-- Records are added, and nothing else is done to them.
GRANT SELECT, INSERT ON usage_records TO hansard_doors;
GRANT SELECT, INSERT, UPDATE ON usage_segments, usage_marks, usage_sources, usage_reaped TO hansard_doors;
GRANT SELECT, INSERT, DELETE ON usage_hourly, usage_daily, usage_dirty_hours TO hansard_doors;

-- Makes a month's partitions. They are made apart and then attached, which does not keep those out who read and write others.
-- It is no door, since only the tables' owner may do it, but it is the owner's in the same way: it reads nobody's rows.
CREATE FUNCTION ensure_usage_partitions(of_period date) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    parent text;
    partition text;
BEGIN
    IF extract(day FROM of_period) <> 1 OR of_period NOT BETWEEN '2000-01-01' AND '2100-01-01' THEN
        RAISE EXCEPTION '% is not the first day of a month that sessions can be in', of_period
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF to_regclass('usage_marks_' || to_char(of_period, 'YYYY_MM')) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('hansard.usage_partitions', 0));
    -- The one that was waited for may have made them.
    FOREACH parent IN ARRAY ARRAY['usage_records', 'usage_segments', 'usage_marks'] LOOP
        partition := parent || '_' || to_char(of_period, 'YYYY_MM');
        IF to_regclass(partition) IS NULL THEN
            -- Totals and marks are raised again and again: with room on their page, no index has to learn of it.
            EXECUTE format(
                'CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS) WITH (fillfactor = %s)',
                partition, parent, CASE parent WHEN 'usage_records' THEN 100 ELSE 70 END);
            PERFORM isolate_table(partition::regclass);
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES IN (%L)', parent, partition, of_period);
        END IF;
    END LOOP;
END
$$;

REVOKE ALL ON FUNCTION ensure_usage_partitions FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_usage_partitions TO hansard_doors;

-- Takes a batch of records, and says how many of them are new. All of it is there or nothing is.
--
-- Tags come as one JSON text for each record: unnest would flatten arrays of arrays.
CREATE FUNCTION ingest_usage(
    tenants uuid[], sessions uuid[], segments bigint[], sources text[], seqs bigint[], periods text[],
    moments timestamptz[], audio bigint[], connected bigint[], engine bigint[], finals boolean[],
    keys text[], engines text[], models text[], languages text[], tag_lists text[], regions text[], channel_counts bigint[],
    session_starts timestamptz[], starts timestamptz[], audio_before bigint[], connected_before bigint[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    fresh_numbers bigint[];
BEGIN
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
    RETURN cardinality(fresh_numbers);
END
$$;

-- A node's life begins to make records.
CREATE FUNCTION register_usage_source(of_node text, of_epoch uuid, of_spool uuid) RETURNS timestamptz LANGUAGE plpgsql AS $$
BEGIN
    PERFORM ensure_usage_partitions(month::date), ensure_usage_partitions((month + interval '1 month')::date)
    FROM date_trunc('month', now() AT TIME ZONE 'UTC') AS t (month);
    INSERT INTO usage_sources (node, epoch, spool) VALUES (of_node, of_epoch, of_spool)
    ON CONFLICT (node, epoch) DO NOTHING;
    RETURN clock_timestamp();
END
$$;

-- All records that the life has made up to a moment are here: the future is not, whatever its clock says. Returns the server's
-- time; null if the life is not known.
CREATE FUNCTION usage_is_complete(of_node text, of_epoch uuid, through timestamptz, is_over boolean)
RETURNS timestamptz LANGUAGE plpgsql AS $$
BEGIN
    UPDATE usage_sources
    SET complete_through = greatest(complete_through, least(through, clock_timestamp())),
        finished_at = CASE WHEN is_over THEN coalesce(finished_at, now()) ELSE finished_at END
    WHERE node = of_node AND epoch = of_epoch;
    RETURN CASE WHEN FOUND THEN clock_timestamp() END;
END
$$;

-- What the spool's earlier lives left in it is all here. Says how many may not be over: a life tells of itself twice a second,
-- and two may have copies of one spool.
CREATE FUNCTION finish_usage_sources(of_spool uuid, but_epoch uuid) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    UPDATE usage_sources AS s SET finished_at = now()
    WHERE s.spool = of_spool AND s.epoch <> but_epoch AND s.finished_at IS NULL
        AND greatest(s.complete_through, s.registered_at) < now() - interval '10 seconds';
    RETURN (
        SELECT count(*) FROM usage_sources AS s
        WHERE s.spool = of_spool AND s.epoch <> but_epoch AND s.finished_at IS NULL AND s.retired_at IS NULL);
END
$$;

-- Sessions of dead nodes, and their audio as far as it is known.
CREATE FUNCTION note_reaped_usage(
    tenants uuid[], sessions uuid[], nodes text[], epochs uuid[], keys text[], regions text[], starts timestamptz[],
    moments timestamptz[], audio bigint[]
) RETURNS void LANGUAGE sql AS $$
    INSERT INTO usage_reaped AS known (tenant_id, session_id, node, epoch, key_id, region, started_at, found_at, audio_ms)
    SELECT DISTINCT ON (g.tenant_id, g.session_id) g.*
    FROM unnest(tenants, sessions, nodes, epochs, keys, regions, starts, moments, audio)
        AS g (tenant_id, session_id, node, epoch, key_id, region, started_at, found_at, audio_ms)
    ORDER BY g.tenant_id, g.session_id, g.audio_ms DESC
    ON CONFLICT (tenant_id, session_id) DO UPDATE SET audio_ms = greatest(known.audio_ms, excluded.audio_ms)
    WHERE excluded.audio_ms > known.audio_ms
$$;

-- A life of a node will bring no more: what its sessions' leases told beyond what is here counts, in the last segment that is
-- known of each. Says of how many sessions.
CREATE FUNCTION count_reaped_usage(of_node text, of_epoch uuid) RETURNS bigint LANGUAGE sql AS $$
    WITH lost AS (
        SELECT r.tenant_id, r.session_id, r.key_id, r.region, coalesce(s.session_started_at, r.started_at) AS session_started_at,
            s.engine, s.model, s.language,
            s.tags, s.audio_ms, s.connected_ms, s.engine_ms, coalesce(s.segment, 0) AS segment,
            coalesce(s.channels, 1) AS channels, coalesce(s.started_at, r.started_at) AS started_at,
            coalesce(s.audio_before_ms, 0) AS audio_before_ms, coalesce(s.connected_before_ms, 0) AS connected_before_ms,
            coalesce(s.period, date_trunc('month', r.started_at AT TIME ZONE 'UTC')::date) AS period,
            greatest(s.last_at, r.found_at) AS moment,
            r.audio_ms - coalesce(s.audio_before_ms + s.audio_ms, 0) AS missing
        FROM usage_reaped AS r LEFT JOIN LATERAL (
            SELECT * FROM usage_segments AS t
            WHERE t.tenant_id = r.tenant_id AND t.session_id = r.session_id ORDER BY t.segment DESC LIMIT 1
        ) AS s ON true
        WHERE r.epoch = of_epoch AND r.node = of_node
            AND r.audio_ms > coalesce(s.audio_before_ms + s.audio_ms, 0)
    )
    SELECT coalesce(ingest_usage(array_agg(tenant_id), array_agg(session_id), array_agg(segment::bigint),
        array_agg('reaper'::text), array_agg(0::bigint), array_agg(to_char(period, 'YYYY-MM')),
        array_agg(least(moment, (period + interval '1 month') AT TIME ZONE 'UTC' - interval '1 millisecond')),
        array_agg(coalesce(audio_ms, 0) + missing), array_agg(coalesce(connected_ms, 0)),
        array_agg(coalesce(engine_ms, 0) + missing), array_agg(true), array_agg(key_id),
        array_agg(coalesce(engine, 'unknown')), array_agg(coalesce(model, '')), array_agg(coalesce(language, 'unknown')),
        array_agg(coalesce(to_json(tags)::text, '[]')), array_agg(region), array_agg(channels::bigint),
        array_agg(session_started_at), array_agg(started_at), array_agg(audio_before_ms), array_agg(connected_before_ms)), 0)
    FROM lost HAVING count(*) > 0
    UNION ALL
    SELECT 0 WHERE NOT EXISTS (SELECT FROM lost)
$$;

-- Up to when all nodes' records are here.
CREATE FUNCTION usage_data_as_of() RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT least(coalesce(min(complete_through), now()), now()) FROM usage_sources
    WHERE finished_at IS NULL AND retired_at IS NULL
$$;

-- An hour's use from the marks: what each segment has beyond what it had before.
--
-- The segments of an hour's marks are looked up one by one. The planner does not know how few an hour has, since it is told the
-- hour as it goes, and would read all that a tenant ever had for each; OFFSET keeps it from that.
CREATE FUNCTION usage_of_hours(of_tenant uuid, from_hour timestamptz, before_hour timestamptz)
RETURNS SETOF usage_hourly LANGUAGE sql STABLE AS $$
    SELECT m.tenant_id, m.hour, s.key_id, s.engine, s.model, s.language, s.tags, s.region,
        sum(greatest(m.audio_ms - coalesce(b.audio_ms, 0), 0))::bigint,
        sum(greatest(m.connected_ms - coalesce(b.connected_ms, 0), 0))::bigint,
        sum(greatest(m.engine_ms - coalesce(b.engine_ms, 0), 0))::bigint,
        count(*) FILTER (WHERE m.begins)
    FROM usage_marks AS m
    CROSS JOIN LATERAL (
        SELECT * FROM usage_segments AS t
        WHERE t.tenant_id = m.tenant_id AND t.session_id = m.session_id AND t.segment = m.segment AND t.period = m.period
        OFFSET 0
    ) AS s
    LEFT JOIN LATERAL (
        SELECT max(k.audio_ms) AS audio_ms, max(k.connected_ms) AS connected_ms, max(k.engine_ms) AS engine_ms
        FROM usage_marks AS k
        WHERE k.tenant_id = m.tenant_id AND k.session_id = m.session_id AND k.segment = m.segment AND k.period = m.period
            AND k.hour < m.hour
    ) AS b ON true
    WHERE m.tenant_id = of_tenant AND m.hour >= from_hour AND m.hour < before_hour
    GROUP BY m.tenant_id, m.hour, s.key_id, s.engine, s.model, s.language, s.tags, s.region
$$;

-- Brings usage_hourly and usage_daily up to date for so many hours, and says for how many. One at a time.
CREATE FUNCTION roll_usage(at_most bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    stale record;
    rolled bigint := 0;
BEGIN
    -- Compiling would take longer than anything here.
    PERFORM set_config('jit', 'off', true);
    IF NOT pg_try_advisory_xact_lock(hashtextextended('hansard.usage_rollup', 0)) THEN
        RETURN 0;
    END IF;
    FOR stale IN
        WITH oldest AS (
            SELECT d.tenant_id, d.hour FROM usage_dirty_hours AS d GROUP BY d.tenant_id, d.hour
            ORDER BY d.hour, d.tenant_id LIMIT at_most
        ), taken AS (
            DELETE FROM usage_dirty_hours AS d USING oldest AS s WHERE d.tenant_id = s.tenant_id AND d.hour = s.hour
        )
        SELECT s.tenant_id, date_trunc('day', s.hour, 'UTC') AS day, array_agg(s.hour) AS hours
        FROM oldest AS s GROUP BY 1, 2
    LOOP
        DELETE FROM usage_hourly AS h WHERE h.tenant_id = stale.tenant_id AND h.hour = ANY (stale.hours);
        INSERT INTO usage_hourly
        SELECT u.* FROM unnest(stale.hours) AS t (hour)
        CROSS JOIN LATERAL usage_of_hours(stale.tenant_id, t.hour, t.hour + interval '1 hour') AS u;
        DELETE FROM usage_daily AS d WHERE d.tenant_id = stale.tenant_id AND d.day = stale.day;
        INSERT INTO usage_daily
        SELECT h.tenant_id, stale.day, h.key_id, h.engine, h.model, h.language, h.tags, h.region, sum(h.audio_ms),
            sum(h.connected_ms), sum(h.engine_ms), sum(h.sessions)
        FROM usage_hourly AS h
        WHERE h.tenant_id = stale.tenant_id AND h.hour >= stale.day AND h.hour < stale.day + interval '24 hours'
        GROUP BY h.tenant_id, h.key_id, h.engine, h.model, h.language, h.tags, h.region;
        rolled := rolled + cardinality(stale.hours);
    END LOOP;
    RETURN rolled;
END
$$;

REVOKE ALL ON FUNCTION usage_of_hours FROM PUBLIC;
GRANT EXECUTE ON FUNCTION usage_of_hours TO hansard_app, hansard_doors, hansard_operator;

SELECT make_door(door) FROM unnest(ARRAY[
    'ingest_usage(uuid[], uuid[], bigint[], text[], bigint[], text[], timestamptz[], bigint[], bigint[], bigint[], boolean[],
        text[], text[], text[], text[], text[], text[], bigint[], timestamptz[], timestamptz[], bigint[], bigint[])',
    'register_usage_source(text, uuid, uuid)',
    'usage_is_complete(text, uuid, timestamptz, boolean)',
    'finish_usage_sources(uuid, uuid)',
    'usage_data_as_of()',
    'roll_usage(bigint)',
    'note_reaped_usage(uuid[], uuid[], text[], uuid[], text[], text[], timestamptz[], timestamptz[], bigint[])',
    'count_reaped_usage(text, uuid)'
]::regprocedure[]) AS door;
-- An operator gives up what a lost node may have had.
GRANT EXECUTE ON FUNCTION count_reaped_usage TO hansard_operator;

-- Sessions that ended before there was a ledger: all that they used counts in the month in which they began.
SELECT ensure_usage_partitions(period)
FROM (SELECT DISTINCT date_trunc('month', started_at AT TIME ZONE 'UTC')::date AS period FROM usage_rows) AS t;

WITH ended AS (
    SELECT u.*, date_trunc('month', started_at AT TIME ZONE 'UTC')::date AS period,
        greatest(started_at, least(ended_at,
            (date_trunc('month', started_at AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC'
                - interval '1 millisecond')) AS made_at
    FROM usage_rows AS u
), records AS (
    INSERT INTO usage_records
    SELECT tenant_id, session_id, 0, 'node', 0, period, made_at, audio_ms, connected_ms, engine_ms, true FROM ended
), segments AS (
    INSERT INTO usage_segments
    SELECT tenant_id, session_id, 0, period, key_id, engine, model, language, tags, region, channels, started_at, started_at,
        made_at, 0, 0, audio_ms, connected_ms, engine_ms, true
    FROM ended
), marks AS (
    INSERT INTO usage_marks
    SELECT tenant_id, session_id, 0, period, hour, max(audio_ms), max(connected_ms), max(engine_ms), bool_or(begins)
    FROM (
        SELECT tenant_id, session_id, period, date_trunc('hour', made_at, 'UTC') AS hour, audio_ms, connected_ms, engine_ms,
            false AS begins FROM ended
        UNION ALL
        SELECT tenant_id, session_id, period, date_trunc('hour', started_at, 'UTC'), 0, 0, 0, true FROM ended
    ) AS hours
    GROUP BY tenant_id, session_id, period, hour
    RETURNING tenant_id, hour
)
INSERT INTO usage_dirty_hours SELECT DISTINCT tenant_id, hour FROM marks;
