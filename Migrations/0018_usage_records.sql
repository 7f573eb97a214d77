-- Records of a month go once it is closed and long over, a partition at a time: bills, sums and reports by the hour are made from
-- totals and marks, which stay. Records that come later still raise the totals, and go in their turn.

-- The months whose records went, if only some of them.
CREATE TABLE dropped_usage_records (
    period date PRIMARY KEY CHECK (extract(day FROM period) = 1),
    dropped_at timestamptz NOT NULL
);

SELECT isolate_table('dropped_usage_records');
GRANT SELECT ON dropped_usage_records TO hansard_doors, hansard_operator;

-- As 0014 has it, but that a month's records may be gone while its totals are there.
CREATE OR REPLACE FUNCTION ensure_usage_partitions(of_period date) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    parent text;
    partition text;
BEGIN
    IF extract(day FROM of_period) <> 1 OR of_period NOT BETWEEN '2000-01-01' AND '2100-01-01' THEN
        RAISE EXCEPTION '% is not the first day of a month that sessions can be in', of_period
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- What is here stays until the transaction ends: whoever drops records waits for this.
    LOCK TABLE ONLY usage_records IN ROW EXCLUSIVE MODE;
    IF to_regclass('usage_marks_' || to_char(of_period, 'YYYY_MM')) IS NOT NULL
        AND to_regclass('usage_records_' || to_char(of_period, 'YYYY_MM')) IS NOT NULL
    THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('hansard.usage_partitions', 0));
    -- The one that was waited for may have made them. A name that was not found before is not looked for again.
    FOREACH parent IN ARRAY ARRAY['usage_records', 'usage_segments', 'usage_marks'] LOOP
        partition := parent || '_' || to_char(of_period, 'YYYY_MM');
        IF NOT EXISTS (
            SELECT FROM pg_class WHERE relname = partition AND relnamespace = 'public'::regnamespace)
        THEN
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

-- Drops the records of the earliest month that is closed and ended before a time, and says which it was: null is none, and also
-- that others are at the table. Nobody can record anything while this waits for them, so that it does not wait for long.
-- It is the owner's, as `ensure_usage_partitions`.
CREATE FUNCTION drop_usage_records(ended_before timestamptz) RETURNS date LANGUAGE plpgsql
SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    month date;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('hansard.usage_records', 0)) THEN
        RETURN NULL;
    END IF;
    SELECT to_date(b.period, 'YYYY-MM') INTO month FROM billing_periods AS b
    WHERE b.state = 'closed' AND to_regclass('usage_records_' || replace(b.period, '-', '_')) IS NOT NULL
        AND (to_date(b.period, 'YYYY-MM') + interval '1 month') AT TIME ZONE 'UTC' < ended_before
    ORDER BY b.period LIMIT 1;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    PERFORM set_config('lock_timeout', '500ms', true);
    EXECUTE format('DROP TABLE %I', 'usage_records_' || to_char(month, 'YYYY_MM'));
    INSERT INTO dropped_usage_records AS known (period, dropped_at) VALUES (month, now())
    ON CONFLICT (period) DO UPDATE SET dropped_at = excluded.dropped_at;
    RETURN month;
EXCEPTION WHEN lock_not_available THEN
    RETURN NULL;
END
$$;

REVOKE ALL ON FUNCTION drop_usage_records FROM PUBLIC;
GRANT EXECUTE ON FUNCTION drop_usage_records TO hansard_doors;

-- The same for nodes, one month at a time. What a wrong clock must not take out is kept whatever the argument says.
CREATE FUNCTION prune_usage_records(ended_before timestamptz) RETURNS text LANGUAGE sql AS $$
    SELECT to_char(drop_usage_records(least(ended_before, now() - interval '31 days')), 'YYYY-MM')
$$;

-- Whether records of a stretch of time went: what is made of them alone would be less than was used.
CREATE FUNCTION are_usage_records_dropped(from_moment timestamptz, before_moment timestamptz) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM dropped_usage_records AS d
        WHERE d.period::timestamp AT TIME ZONE 'UTC' < before_moment
            AND (d.period + interval '1 month') AT TIME ZONE 'UTC' > from_moment)
$$;

SELECT make_door('prune_usage_records(timestamptz)');
SELECT make_door('are_usage_records_dropped(timestamptz, timestamptz)');
