-- What of late usage is billed where: each line of an invoice has its sessions, also after more has come for its month.
--
-- For a month that is being closed, or is closed, each change of a total is kept with what the total was
-- before, and the invoice that is the first to have it says so. What any invoice has of a segment is then the total before the
-- first change that it does not have, or the total, where it has all.

CREATE TABLE late_usage (
    tenant_id uuid NOT NULL,
    -- of the segment
    period date NOT NULL,
    session_id uuid NOT NULL,
    segment integer NOT NULL,
    -- Of one segment's changes the later has the higher: whoever makes one has the segment's row.
    place bigint GENERATED ALWAYS AS IDENTITY,
    -- what the segment had before; null is that it was not there
    audio_ms bigint,
    connected_ms bigint,
    -- whether the session was counted with it
    begins boolean,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    -- the month of the tenant's invoice that has it; null is none yet
    billed_in text COLLATE "C" CHECK (billed_in ~ '^[0-9]{4}-(0[1-9]|1[0-2])$'),
    PRIMARY KEY (tenant_id, period, session_id, segment, place),
    CHECK (num_nulls(audio_ms, connected_ms, begins) IN (0, 3))
);

SELECT isolate_table('late_usage');
GRANT SELECT ON late_usage TO hansard_operator;
GRANT UPDATE (billed_in) ON late_usage TO hansard_operator;
GRANT SELECT, INSERT ON late_usage TO hansard_doors;
GRANT SELECT ON billing_periods TO hansard_doors;

-- Whether late usage has been kept since the month's closing began; those before this migration were not asked.
ALTER TABLE billing_periods ADD COLUMN keeps_late_usage boolean NOT NULL DEFAULT false;
ALTER TABLE billing_periods ALTER COLUMN keeps_late_usage SET DEFAULT true;

-- A month before one that is closing or closed is not open any more, whether or not it was closed itself.
CREATE FUNCTION keep_late_usage() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND (NEW.audio_ms, NEW.connected_ms, NEW.begins) = (OLD.audio_ms, OLD.connected_ms, OLD.begins) THEN
        RETURN NULL;
    ELSIF NOT EXISTS (
        SELECT FROM billing_periods AS b WHERE b.state <> 'open' AND b.period >= to_char(NEW.period, 'YYYY-MM'))
    THEN
        RETURN NULL;
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO late_usage (tenant_id, period, session_id, segment)
        VALUES (NEW.tenant_id, NEW.period, NEW.session_id, NEW.segment);
    ELSE
        INSERT INTO late_usage (tenant_id, period, session_id, segment, audio_ms, connected_ms, begins)
        VALUES (NEW.tenant_id, NEW.period, NEW.session_id, NEW.segment, OLD.audio_ms, OLD.connected_ms,
            OLD.segment = 0 OR OLD.begins);
    END IF;
    RETURN NULL;
END
$$;

-- The present month costs a comparison of dates, and nothing is looked up: it is not being closed.
CREATE TRIGGER keep_late_usage AFTER INSERT OR UPDATE ON usage_segments FOR EACH ROW
    WHEN (NEW.period < date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC'))
    EXECUTE FUNCTION keep_late_usage();

-- For whoever begins to close a month: waits for those who are recording, who may have found it open, and keeps others from it until
-- the transaction ends, who find that it is being closed. It is the owner's, since nobody else may lock what it only reads.
CREATE FUNCTION await_ingest(of_month text) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    -- Each batch of records begins with a lock of this table (0018_usage_records.sql).
    LOCK TABLE ONLY usage_records IN SHARE MODE;
    -- Of a month that is not over nothing would be kept.
    IF clock_timestamp() AT TIME ZONE 'UTC' < (next_month(of_month) || '-01')::timestamp THEN
        RAISE EXCEPTION '% is not over by the database''s clock', of_month USING ERRCODE = 'restrict_violation';
    END IF;
END
$$;

-- A month's segments as the invoices have them up to that of a month, or, of null, as they are: audio_ms and connected_ms are null
-- where a segment was not there yet. It is no door: who calls it sees what it may.
CREATE FUNCTION usage_as_of(of_tenant uuid, of_period date, through text) RETURNS TABLE (
    session_id uuid, segment integer, session_started_at timestamptz, engine text, language text, audio_before_ms bigint,
    connected_before_ms bigint, audio_ms bigint, connected_ms bigint, is_beginning boolean
) LANGUAGE sql STABLE AS $$
    SELECT s.session_id, s.segment, s.session_started_at, s.engine, s.language, s.audio_before_ms, s.connected_before_ms,
        CASE WHEN c.place IS NULL THEN s.audio_ms ELSE c.audio_ms END,
        CASE WHEN c.place IS NULL THEN s.connected_ms ELSE c.connected_ms END,
        CASE WHEN c.place IS NULL THEN s.segment = 0 OR s.begins ELSE c.begins END
    FROM usage_segments AS s
    LEFT JOIN LATERAL (
        SELECT l.place, l.audio_ms, l.connected_ms, l.begins FROM late_usage AS l
        WHERE l.tenant_id = s.tenant_id AND l.period = s.period AND l.session_id = s.session_id AND l.segment = s.segment
            AND (l.billed_in > through COLLATE "C" OR l.billed_in IS NULL AND through IS NOT NULL)
        ORDER BY l.place LIMIT 1
    ) AS c ON true
    WHERE s.tenant_id = of_tenant AND s.period = of_period
$$;

-- What is kept stays, and is billed once.
CREATE FUNCTION late_usage_is_billed() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF OLD.billed_in IS NOT NULL OR (NEW.tenant_id, NEW.period, NEW.session_id, NEW.segment, NEW.place, NEW.audio_ms,
        NEW.connected_ms, NEW.begins, NEW.recorded_at) IS DISTINCT FROM (OLD.tenant_id, OLD.period, OLD.session_id, OLD.segment, OLD.place,
        OLD.audio_ms, OLD.connected_ms, OLD.begins, OLD.recorded_at)
    THEN
        RAISE EXCEPTION 'late usage is kept as it came, and is on one invoice' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;

-- Late usage of months that were billed before this, by the time of its records, where they are still there. Of what came within the
-- moment in which an invoice was made this may be wrong: then the sums say so to whoever asks for a line's sessions.
INSERT INTO late_usage (tenant_id, period, session_id, segment, audio_ms, connected_ms, begins, recorded_at, billed_in)
WITH billed AS MATERIALIZED (
    SELECT l.tenant_id, to_date(l.for_period, 'YYYY-MM') AS period, min(i.created_at) AS first_at
    FROM invoice_lines AS l JOIN invoices AS i USING (tenant_id, period)
    WHERE l.kind <> 'credit' GROUP BY 1, 2
), late AS MATERIALIZED (
    SELECT DISTINCT r.tenant_id, r.period, r.session_id, r.segment, b.first_at
    FROM billed AS b JOIN usage_records AS r
        ON r.tenant_id = b.tenant_id AND r.period = b.period AND r.recorded_at > b.first_at
), known AS (
    SELECT r.tenant_id, r.period, r.session_id, r.segment, r.recorded_at, l.first_at, r.seq, r.source,
        CASE WHEN r.segment < 2147483647 THEN max(r.audio_ms) OVER now_known ELSE r.audio_ms END AS audio_ms,
        max(r.connected_ms) OVER now_known AS connected_ms,
        -- A surplus is what its last record says.
        CASE WHEN r.segment < 2147483647 THEN max(r.audio_ms) OVER before_it ELSE lag(r.audio_ms) OVER one END AS audio_before,
        max(r.connected_ms) OVER before_it AS connected_before
    FROM late AS l JOIN usage_records AS r USING (tenant_id, period, session_id, segment)
    WINDOW one AS (PARTITION BY r.tenant_id, r.period, r.session_id, r.segment ORDER BY r.recorded_at, r.seq, r.source),
        now_known AS (one ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW),
        before_it AS (one ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
)
SELECT k.tenant_id, k.period, k.session_id, k.segment, k.audio_before, k.connected_before,
    CASE WHEN k.audio_before IS NOT NULL THEN k.segment = 0 END, k.recorded_at, (
    SELECT min(i.period) FROM invoices AS i JOIN invoice_lines AS l USING (tenant_id, period)
    WHERE i.tenant_id = k.tenant_id AND l.for_period = to_char(k.period, 'YYYY-MM') AND l.kind <> 'credit'
        AND i.created_at >= k.recorded_at)
FROM known AS k
WHERE k.recorded_at > k.first_at
    AND (k.audio_ms, k.connected_ms) IS DISTINCT FROM (k.audio_before, k.connected_before)
ORDER BY k.recorded_at, k.seq, k.source;

CREATE TRIGGER late_usage_is_billed BEFORE UPDATE ON late_usage FOR EACH ROW EXECUTE FUNCTION late_usage_is_billed();
CREATE TRIGGER billing_stays BEFORE DELETE ON late_usage FOR EACH ROW EXECUTE FUNCTION billing_stays();
CREATE TRIGGER late_usage_stays BEFORE TRUNCATE ON late_usage FOR EACH STATEMENT EXECUTE FUNCTION billing_stays();

REVOKE ALL ON FUNCTION keep_late_usage, await_ingest, usage_as_of, late_usage_is_billed FROM PUBLIC;
GRANT EXECUTE ON FUNCTION await_ingest TO hansard_operator;
GRANT EXECUTE ON FUNCTION usage_as_of TO hansard_app, hansard_operator;
