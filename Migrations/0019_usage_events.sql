-- The usage outbox: what each segment used in each hour, as events for a meter elsewhere, made once and in one order.
--
--     usage_marks > roll_usage > usage_event_hours (hours to be told again) > make_usage_events > usage_events > a node sends
--
-- An event has what a segment's hour has beyond what its earlier events told: the first has all of it, and one that follows,
-- because of records that came late, the difference. Their sum is always what the ledger has. Events never change, and their
-- names are made of what they are about, so that a receiver that gets one twice can tell.
--
-- Nothing of this happens in ingest, and nothing at all until a node that has a destination has asked for the first time.

-- One row once there is a destination, and how far it has got.
CREATE TABLE usage_event_delivery (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    -- Events are about this hour and later ones. It moves on as old events are taken out: what is late for them is not told.
    first_hour timestamptz NOT NULL,
    -- Positions have no gaps, and are given by one transaction after the other: who has seen one has seen all before it.
    last_position bigint NOT NULL DEFAULT 0 CHECK (last_position >= 0),
    -- the receiver has everything up to this one, but for what it refused
    delivered bigint NOT NULL DEFAULT 0 CHECK (delivered BETWEEN 0 AND last_position),
    -- which life of a node delivers, and until when it does so alone
    holder uuid,
    held_until timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 50);

CREATE TABLE usage_event_hours (
    tenant_id uuid NOT NULL,
    hour timestamptz NOT NULL,
    -- Segments that are not over are told of when their hour is.
    due_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, hour)
);

CREATE INDEX usage_event_hours_by_time ON usage_event_hours (due_at);

CREATE TABLE usage_events (
    position bigint PRIMARY KEY CHECK (position > 0),
    tenant_id uuid NOT NULL,
    session_id uuid NOT NULL,
    segment integer NOT NULL,
    hour timestamptz NOT NULL,
    revision integer NOT NULL CHECK (revision > 0),
    -- up to when it was used, within the hour
    used_until timestamptz NOT NULL,
    -- below zero where an earlier event told too much
    audio_ms bigint NOT NULL,
    connected_ms bigint NOT NULL,
    engine_ms bigint NOT NULL,
    sessions integer NOT NULL,
    key_id text NOT NULL,
    engine text NOT NULL,
    model text NOT NULL,
    language text NOT NULL,
    region text NOT NULL,
    tags text[] NOT NULL,
    channels integer NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now(),
    -- the receiver would not take it, and with which status it said so
    refused_at timestamptz,
    refused_status integer,
    UNIQUE (tenant_id, session_id, segment, hour, revision),
    CHECK ((refused_at IS NULL) = (refused_status IS NULL))
);

-- What is old is taken out.
CREATE INDEX usage_events_by_hour ON usage_events (hour);

SELECT isolate_table(relation) FROM unnest(ARRAY[
    'usage_event_delivery', 'usage_event_hours', 'usage_events'
]::regclass[]) AS relation;

GRANT SELECT ON usage_event_delivery, usage_event_hours, usage_events TO hansard_operator;
GRANT SELECT, INSERT, UPDATE ON usage_event_delivery TO hansard_doors;
GRANT SELECT, INSERT, UPDATE, DELETE ON usage_event_hours, usage_events TO hansard_doors;

-- As usage_of_hours (0014_ledger.sql) has it, by segment.
CREATE FUNCTION usage_of_segments(of_tenant uuid, from_hour timestamptz, before_hour timestamptz)
RETURNS TABLE (
    session_id uuid, segment integer, hour timestamptz, used_until timestamptz, audio_ms bigint, connected_ms bigint,
    engine_ms bigint, sessions integer, key_id text, engine text, model text, language text, region text, tags text[],
    channels integer, is_final boolean
) LANGUAGE sql STABLE AS $$
    SELECT m.session_id, m.segment, m.hour, least(s.last_at, m.hour + interval '1 hour' - interval '1 millisecond'),
        greatest(m.audio_ms - coalesce(b.audio_ms, 0), 0), greatest(m.connected_ms - coalesce(b.connected_ms, 0), 0),
        greatest(m.engine_ms - coalesce(b.engine_ms, 0), 0), m.begins::integer, s.key_id, s.engine, s.model, s.language,
        s.region, s.tags, s.channels, s.is_final
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
$$;

-- As 0014_ledger.sql has it; and what is summed up anew is told anew.
CREATE OR REPLACE FUNCTION roll_usage(at_most bigint) RETURNS bigint LANGUAGE plpgsql AS $$
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
        -- Whoever makes events of such an hour at this moment has its row, and is waited for: what it did not see, it is
        -- given again.
        INSERT INTO usage_event_hours (tenant_id, hour, due_at)
        SELECT stale.tenant_id, t.hour, now()
        FROM unnest(stale.hours) AS t (hour) CROSS JOIN usage_event_delivery AS d WHERE t.hour >= d.first_hour
        ON CONFLICT (tenant_id, hour) DO UPDATE SET due_at = excluded.due_at;
        rolled := rolled + cardinality(stale.hours);
    END LOOP;
    RETURN rolled;
END
$$;

-- Makes the events of so many hours of tenants, and says of how many hours it did. One at a time, until it is committed:
-- that is what keeps positions in order.
--
-- An hour that is over is told of after a while in which its last records arrive, and one that is not as far as its segments
-- are over: then a short session is one event, and a long one is one for each hour.
--
-- The first call only says from which hour on there are events. Whatever is summed up after that is queued, and what was
-- summed up before, or beside it, in this hour is queued here for the next call.
CREATE FUNCTION make_usage_events(at_most bigint, slack_seconds double precision) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    slack interval := make_interval(secs => slack_seconds);
    delivery usage_event_delivery;
    due record;
    is_over boolean;
    made bigint;
    place bigint;
    seen bigint := 0;
BEGIN
    -- What was told of a segment's hour is looked up by an index. The planner does not know how many events a young table has,
    -- and would read all of them for each.
    PERFORM set_config('jit', 'off', true), set_config('enable_seqscan', 'off', true);
    IF NOT pg_try_advisory_xact_lock(hashtextextended('hansard.usage_events', 0)) THEN
        RETURN 0;
    END IF;
    SELECT d.* INTO delivery FROM usage_event_delivery AS d;
    IF NOT FOUND THEN
        INSERT INTO usage_event_delivery (first_hour, last_position, delivered)
        SELECT date_trunc('hour', now(), 'UTC'), last.position, last.position
        FROM (SELECT coalesce(max(e.position), 0) AS position FROM usage_events AS e) AS last;
        INSERT INTO usage_event_hours (tenant_id, hour, due_at)
        SELECT t.tenant_id, date_trunc('hour', now(), 'UTC'), now() FROM tenants AS t
        ON CONFLICT DO NOTHING;
        RETURN 0;
    END IF;
    place := delivery.last_position;
    FOR due IN
        SELECT h.tenant_id, h.hour FROM usage_event_hours AS h WHERE h.due_at <= now()
        ORDER BY h.due_at, h.hour, h.tenant_id LIMIT at_most FOR UPDATE SKIP LOCKED
    LOOP
        is_over := due.hour + interval '1 hour' + slack <= now();
        INSERT INTO usage_events (position, tenant_id, session_id, segment, hour, revision, used_until, audio_ms,
            connected_ms, engine_ms, sessions, key_id, engine, model, language, region, tags, channels)
        SELECT place + row_number() OVER (ORDER BY u.used_until, u.session_id, u.segment), due.tenant_id, u.session_id,
            u.segment, u.hour, told.revision + 1, u.used_until, u.audio_ms - told.audio_ms,
            u.connected_ms - told.connected_ms, u.engine_ms - told.engine_ms, u.sessions - told.sessions, u.key_id, u.engine,
            u.model, u.language, u.region, u.tags, u.channels
        FROM usage_of_segments(due.tenant_id, due.hour, due.hour + interval '1 hour') AS u
        CROSS JOIN LATERAL (
            SELECT coalesce(max(e.revision), 0) AS revision, coalesce(sum(e.audio_ms), 0)::bigint AS audio_ms,
                coalesce(sum(e.connected_ms), 0)::bigint AS connected_ms, coalesce(sum(e.engine_ms), 0)::bigint AS engine_ms,
                coalesce(sum(e.sessions), 0)::integer AS sessions
            FROM usage_events AS e
            WHERE e.tenant_id = due.tenant_id AND e.session_id = u.session_id AND e.segment = u.segment AND e.hour = u.hour
        ) AS told
        -- An hour may have been queued while it became too old.
        WHERE u.hour >= delivery.first_hour AND (is_over OR u.is_final)
            AND (u.audio_ms, u.connected_ms, u.engine_ms, u.sessions)
                <> (told.audio_ms, told.connected_ms, told.engine_ms, told.sessions);
        GET DIAGNOSTICS made = ROW_COUNT;
        place := place + made;
        IF is_over OR NOT EXISTS (
            SELECT FROM usage_of_segments(due.tenant_id, due.hour, due.hour + interval '1 hour') AS u WHERE NOT u.is_final)
        THEN
            DELETE FROM usage_event_hours AS h WHERE h.tenant_id = due.tenant_id AND h.hour = due.hour;
        ELSE
            UPDATE usage_event_hours AS h SET due_at = due.hour + interval '1 hour' + slack
            WHERE h.tenant_id = due.tenant_id AND h.hour = due.hour;
        END IF;
        seen := seen + 1;
    END LOOP;
    UPDATE usage_event_delivery AS d SET last_position = place WHERE d.last_position <> place;
    RETURN seen;
END
$$;

-- Who delivers, for so long: the life of a node that asks, unless another one does. Says also how far delivery has got. No
-- row is returned until events are made.
CREATE FUNCTION hold_usage_events(of_holder uuid, for_seconds double precision)
RETURNS TABLE (is_held boolean, delivered bigint, pending bigint, oldest timestamptz) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE usage_event_delivery AS d
    SET holder = of_holder, held_until = clock_timestamp() + make_interval(secs => for_seconds)
    WHERE d.holder = of_holder OR d.held_until <= clock_timestamp();
    is_held := FOUND;
    RETURN QUERY
    SELECT is_held, d.delivered, d.last_position - d.delivered,
        (SELECT e.made_at FROM usage_events AS e WHERE e.position = d.delivered + 1)
    FROM usage_event_delivery AS d;
END
$$;

-- The next ones in their order.
CREATE FUNCTION usage_events_after(place bigint, at_most bigint) RETURNS SETOF usage_events LANGUAGE sql STABLE AS $$
    SELECT * FROM usage_events AS e WHERE e.position > place ORDER BY e.position LIMIT at_most
$$;

-- The receiver has everything up to this one, or, where it gave a status, everything before it and will not take this one.
-- False if somebody else delivers now: what that one finds is not changed.
CREATE FUNCTION usage_events_delivered(of_holder uuid, through bigint, refusal bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE usage_event_delivery AS d SET delivered = through
    WHERE d.holder = of_holder AND d.delivered < through AND through <= d.last_position;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF refusal IS NOT NULL THEN
        UPDATE usage_events AS e SET refused_at = now(), refused_status = refusal WHERE e.position = through;
    END IF;
    RETURN true;
END
$$;

-- Takes out so many delivered events of hours before a time, and says how many they were. From then on such hours are told of
-- no more: it would not be known what was told of them.
CREATE FUNCTION prune_usage_events(before timestamptz, at_most bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    delivery usage_event_delivery;
    pruned bigint;
BEGIN
    -- A wrong clock must not take out what is new.
    before := date_trunc('hour', least(before, now() - interval '40 days'), 'UTC');
    IF NOT pg_try_advisory_xact_lock(hashtextextended('hansard.usage_events', 0)) THEN
        RETURN 0;
    END IF;
    -- Nothing that is yet to be delivered, or made, is old.
    SELECT d.* INTO delivery FROM usage_event_delivery AS d;
    IF NOT FOUND
        OR EXISTS (SELECT FROM usage_events AS e WHERE e.position > delivery.delivered AND e.hour < before)
        OR EXISTS (SELECT FROM usage_event_hours AS h WHERE h.hour < before)
    THEN
        RETURN 0;
    END IF;
    UPDATE usage_event_delivery AS d SET first_hour = before WHERE d.first_hour < before;
    DELETE FROM usage_events AS e WHERE e.position IN (
        SELECT o.position FROM usage_events AS o WHERE o.hour < before ORDER BY o.hour LIMIT at_most);
    GET DIAGNOSTICS pruned = ROW_COUNT;
    RETURN pruned;
END
$$;

REVOKE ALL ON FUNCTION usage_of_segments FROM PUBLIC;
GRANT EXECUTE ON FUNCTION usage_of_segments TO hansard_doors, hansard_operator;

SELECT make_door(door) FROM unnest(ARRAY[
    'roll_usage(bigint)',
    'make_usage_events(bigint, double precision)',
    'hold_usage_events(uuid, double precision)',
    'usage_events_after(bigint, bigint)',
    'usage_events_delivered(uuid, bigint, bigint)',
    'prune_usage_events(timestamptz, bigint)'
]::regprocedure[]) AS door;
