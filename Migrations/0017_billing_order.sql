-- Months one after the other: what was passed over is not billed afterwards, what a month owes is not passed over, and what a tenant
-- is billed in is one currency, whatever comes first.

-- The months that somebody owes something for, or is owed: those with usage, with a credit, and with a commitment, up to the
-- present one.
CREATE FUNCTION billable_months() RETURNS TABLE (period text) LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT u.period FROM usage_months() AS u
    UNION SELECT c.period FROM credits AS c
    UNION SELECT to_char(m, 'YYYY-MM') COLLATE "C"
    FROM plan_assignments AS a JOIN plan_versions AS v USING (plan_id, version)
    CROSS JOIN LATERAL generate_series(
        (a.from_period || '-01')::timestamp,
        least((a.to_period || '-01')::timestamp, date_trunc('month', now() AT TIME ZONE 'UTC')), interval '1 month') AS m
    WHERE (v.document ->> 'commitment')::numeric <> 0
$$;

-- Refuses if one of the months is not open any more; null is no last one. A month before one that is closing or closed is not: it
-- was passed over, since there was nothing in it. Until the transaction ends none of them becomes so.
CREATE OR REPLACE FUNCTION require_open_months(first_month text, last_month text) RETURNS void LANGUAGE plpgsql
SET search_path = public, pg_temp AS $$
DECLARE
    shut record;
BEGIN
    PERFORM FROM billing_state FOR SHARE;
    SELECT p.period, p.state INTO shut FROM billing_periods AS p
    WHERE p.state <> 'open' AND p.period >= first_month ORDER BY p.period DESC LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '% is %: what it and the months before it are billed by does not change any more', shut.period,
            shut.state USING ERRCODE = 'restrict_violation';
    END IF;
END
$$;

-- Refuses another currency than the one that a tenant has had in plans, credits or invoices.
CREATE FUNCTION require_currency(of_tenant uuid, wanted text) RETURNS void LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    other text;
BEGIN
    SELECT known.currency INTO other FROM (
        SELECT v.document ->> 'currency' AS currency FROM plan_assignments AS a JOIN plan_versions AS v USING (plan_id, version)
        WHERE a.tenant_id = of_tenant
        UNION SELECT c.currency FROM credits AS c WHERE c.tenant_id = of_tenant
        UNION SELECT i.currency FROM invoices AS i WHERE i.tenant_id = of_tenant
    ) AS known
    WHERE known.currency <> wanted LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the tenant is billed in %, and a tenant is billed in one currency', other
            USING ERRCODE = 'restrict_violation';
    END IF;
END
$$;

-- As 0016 has it, and with the currency of credits and invoices.
CREATE OR REPLACE FUNCTION plan_assignment_changes() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM require_open_months(OLD.from_period, OLD.to_period);
        RETURN OLD;
    ELSIF TG_OP = 'INSERT' THEN
        PERFORM require_open_months(NEW.from_period, NEW.to_period);
        PERFORM require_currency(NEW.tenant_id, v.document ->> 'currency') FROM plan_versions AS v
        WHERE v.plan_id = NEW.plan_id AND v.version = NEW.version;
    ELSIF (NEW.tenant_id, NEW.from_period, NEW.plan_id, NEW.version)
        IS DISTINCT FROM (OLD.tenant_id, OLD.from_period, OLD.plan_id, OLD.version)
    THEN
        -- Or a version would be used that nobody has marked.
        RAISE EXCEPTION 'of an assignment only the end is changed' USING ERRCODE = 'restrict_violation';
    ELSIF NEW.to_period IS DISTINCT FROM OLD.to_period THEN
        -- The months after the earlier end, up to the later one: null is no end.
        PERFORM require_open_months(
            next_month(least(OLD.to_period, NEW.to_period)),
            CASE WHEN num_nulls(OLD.to_period, NEW.to_period) = 0 THEN greatest(OLD.to_period, NEW.to_period) END);
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION credit_changes() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM require_open_months(NEW.period, NEW.period);
        PERFORM require_currency(NEW.tenant_id, NEW.currency);
        RETURN NEW;
    ELSIF TG_OP = 'DELETE' THEN
        PERFORM require_open_months(OLD.period, OLD.period);
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'a credit is not changed' USING ERRCODE = 'restrict_violation';
END
$$;

-- A tenant that is deleted owes nothing for the months after it: it is billed what it used.
CREATE FUNCTION end_assignments(of_tenant uuid, last_month text) RETURNS void LANGUAGE sql SET search_path = public, pg_temp AS $$
    DELETE FROM plan_assignments WHERE tenant_id = of_tenant AND from_period > last_month;
    UPDATE plan_assignments SET to_period = last_month, revision = revision + 1, updated_at = now()
    WHERE tenant_id = of_tenant AND (to_period IS NULL OR to_period > last_month)
$$;

-- Those that were deleted before this.
SELECT end_assignments(tenant_id, to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM')) FROM tenants WHERE status = 'deleted';

-- Numbers of invoices are those of invoices: whoever takes one stores the invoice in the same transaction.
CREATE OR REPLACE FUNCTION billing_state_grows() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NEW.closings NOT IN (OLD.closings, OLD.closings + 1) OR NEW.last_invoice NOT IN (OLD.last_invoice, OLD.last_invoice + 1)
    THEN
        RAISE EXCEPTION 'numbers of invoices go up, one by one' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE FUNCTION number_is_used() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM invoices WHERE number = NEW.last_invoice) THEN
        RAISE EXCEPTION 'there is no invoice %: its number cannot be taken', NEW.last_invoice
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER number_is_used AFTER UPDATE ON billing_state DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.last_invoice <> OLD.last_invoice) EXECUTE FUNCTION number_is_used();

-- A life that was given up and is at work all the same is waited for again: it is told that nobody knows it, and registers.
CREATE OR REPLACE FUNCTION register_usage_source(of_node text, of_epoch uuid, of_spool uuid) RETURNS timestamptz
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM ensure_usage_partitions(month::date), ensure_usage_partitions((month + interval '1 month')::date)
    FROM date_trunc('month', now() AT TIME ZONE 'UTC') AS t (month);
    INSERT INTO usage_sources AS known (node, epoch, spool) VALUES (of_node, of_epoch, of_spool)
    ON CONFLICT (node, epoch) DO UPDATE SET retired_at = NULL, retired_because = NULL WHERE known.retired_at IS NOT NULL;
    RETURN clock_timestamp();
END
$$;

CREATE OR REPLACE FUNCTION usage_is_complete(of_node text, of_epoch uuid, through timestamptz, is_over boolean)
RETURNS timestamptz LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE usage_sources
    SET complete_through = greatest(complete_through, least(through, clock_timestamp())),
        finished_at = CASE WHEN is_over THEN coalesce(finished_at, now()) ELSE finished_at END
    WHERE node = of_node AND epoch = of_epoch AND retired_at IS NULL;
    RETURN CASE WHEN FOUND THEN clock_timestamp() END;
END
$$;

REVOKE ALL ON FUNCTION billable_months, require_currency, end_assignments, number_is_used FROM PUBLIC;
GRANT EXECUTE ON FUNCTION billable_months, require_currency, end_assignments TO hansard_operator;
