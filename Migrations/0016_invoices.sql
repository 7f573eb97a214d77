-- Months as they are billed: open, closing, closed; what tenants are billed for them, and what operators credit.
--
-- What is closed stays as it is, whoever asks: triggers refuse it to every role, a superuser among them. What comes after, late
-- usage as well as what an operator takes back, is posted in a later month.

-- One row. Who changes what a month is billed by locks it in share mode, and whoever begins to close a month changes it: of the two
-- one comes first, at any isolation, and the other one knows.
CREATE TABLE billing_state (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    closings bigint NOT NULL DEFAULT 0 CHECK (closings >= 0),
    -- numbers of invoices have no gaps: the number is taken in the transaction that stores the invoice
    last_invoice bigint NOT NULL DEFAULT 0 CHECK (last_invoice >= 0)
);

INSERT INTO billing_state DEFAULT VALUES;

-- A month that is not here is open.
CREATE TABLE billing_periods (
    -- a UTC month, 'YYYY-MM'
    period text COLLATE "C" PRIMARY KEY CHECK (period ~ '^[0-9]{4}-(0[1-9]|1[0-2])$'),
    state text NOT NULL CHECK (state IN ('open', 'closing', 'closed')),
    closing_at timestamptz,
    closed_at timestamptz,
    -- why it was closed without the usage of some nodes; null is with all
    override text,
    -- which these were
    missing_sources text[] NOT NULL DEFAULT '{}',
    -- tenants that used something and had no plan; empty until it is closed
    unbilled uuid[] NOT NULL DEFAULT '{}',
    CHECK ((closing_at IS NULL) = (state = 'open') AND (closed_at IS NULL) = (state <> 'closed'))
);

CREATE TABLE invoices (
    tenant_id uuid NOT NULL REFERENCES tenants,
    period text COLLATE "C" NOT NULL REFERENCES billing_periods,
    number bigint NOT NULL UNIQUE CHECK (number > 0),
    currency text NOT NULL,
    total numeric NOT NULL,
    -- null where nothing but earlier months and credits is in it
    plan_id uuid,
    version integer,
    -- up to when all nodes' usage was there
    data_as_of timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    -- canonical JSON, the invoice itself; the other columns are for lists
    document text NOT NULL,
    sha256 bytea NOT NULL CHECK (sha256 = sha256(convert_to(document, 'UTF8'))),
    PRIMARY KEY (tenant_id, period),
    FOREIGN KEY (plan_id, version) REFERENCES plan_versions
);

CREATE INDEX invoices_by_period ON invoices (period, tenant_id);

CREATE TABLE invoice_lines (
    tenant_id uuid NOT NULL,
    period text COLLATE "C" NOT NULL,
    line integer NOT NULL CHECK (line >= 0),
    kind text NOT NULL CHECK (kind IN ('usage', 'adjustment', 'credit')),
    -- the month that it is for: an adjustment's is an earlier one
    for_period text COLLATE "C" NOT NULL CHECK (for_period <= period),
    sessions bigint NOT NULL,
    raw_ms bigint NOT NULL,
    billed_ms bigint NOT NULL,
    amount numeric NOT NULL,
    -- as it is in the invoice
    document text NOT NULL,
    PRIMARY KEY (tenant_id, period, line),
    FOREIGN KEY (tenant_id, period) REFERENCES invoices,
    CHECK ((kind = 'adjustment') = (for_period < period))
);

-- What has been billed for a month.
CREATE INDEX invoice_lines_by_month ON invoice_lines (tenant_id, for_period);

-- What an operator adds to a tenant's bill for a month, or takes off it.
CREATE TABLE credits (
    credit_id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL REFERENCES tenants,
    period text COLLATE "C" NOT NULL CHECK (period ~ '^[0-9]{4}-(0[1-9]|1[0-2])$'),
    currency text NOT NULL,
    -- below zero takes off
    amount numeric NOT NULL CHECK (amount <> 0),
    reason text NOT NULL,
    actor text NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE INDEX credits_by_tenant ON credits (tenant_id, created_at DESC, credit_id DESC);
CREATE INDEX credits_by_period ON credits (period, tenant_id);

-- Why a source was given up.
ALTER TABLE usage_sources ADD COLUMN retired_because text;

CREATE FUNCTION next_month(month text) RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT to_char((month || '-01')::date + interval '1 month', 'YYYY-MM')
$$;

-- The months of which there is usage: each has its partition.
CREATE FUNCTION usage_months() RETURNS TABLE (period text) LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT to_char(p.month, 'YYYY-MM') COLLATE "C"
    FROM (
        SELECT to_date(right(c.relname, 7), 'YYYY_MM') AS month FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'usage_segments'::regclass
    ) AS p
    WHERE EXISTS (SELECT FROM usage_segments AS s WHERE s.period = p.month)
$$;

-- Refuses if one of the months is closing or closed; null is no last one. Until the transaction ends none of them becomes so.
CREATE FUNCTION require_open_months(first_month text, last_month text) RETURNS void LANGUAGE plpgsql
SET search_path = public, pg_temp AS $$
DECLARE
    shut record;
BEGIN
    PERFORM FROM billing_state FOR SHARE;
    SELECT p.period, p.state INTO shut FROM billing_periods AS p
    WHERE p.state <> 'open' AND p.period >= first_month AND (last_month IS NULL OR p.period <= last_month)
    ORDER BY p.period LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '% is %: what it is billed by does not change any more', shut.period, shut.state
            USING ERRCODE = 'restrict_violation';
    END IF;
END
$$;

-- As 0015 has it, and for months that are open alone. A tenant is billed in one currency: what is posted for an earlier month
-- stands beside the present one's on one invoice.
CREATE OR REPLACE FUNCTION plan_assignment_changes() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    other text;
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM require_open_months(OLD.from_period, OLD.to_period);
        RETURN OLD;
    ELSIF TG_OP = 'INSERT' THEN
        PERFORM require_open_months(NEW.from_period, NEW.to_period);
        SELECT theirs.document ->> 'currency' INTO other
        FROM plan_versions AS mine, plan_assignments AS a JOIN plan_versions AS theirs USING (plan_id, version)
        WHERE mine.plan_id = NEW.plan_id AND mine.version = NEW.version AND a.tenant_id = NEW.tenant_id
            AND theirs.document ->> 'currency' <> mine.document ->> 'currency'
        LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'the tenant is billed in %, and a tenant is billed in one currency', other
                USING ERRCODE = 'restrict_violation';
        END IF;
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

-- open > closing > closed, and nothing else.
CREATE FUNCTION billing_period_changes() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' AND NEW.state <> 'closed'
        OR TG_OP = 'UPDATE' AND NEW.period = OLD.period
            AND (OLD.state, NEW.state) IN (('open', 'open'), ('open', 'closing'), ('closing', 'closed'))
            AND (OLD.state = 'open'
                OR (NEW.closing_at, NEW.override, NEW.missing_sources)
                    IS NOT DISTINCT FROM (OLD.closing_at, OLD.override, OLD.missing_sources))
    THEN
        RETURN NEW;
    ELSIF TG_OP = 'DELETE' AND OLD.state = 'open' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'a month is opened, then closing, then closed, and stays so' USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER billing_period_changes BEFORE INSERT OR UPDATE OR DELETE ON billing_periods
    FOR EACH ROW EXECUTE FUNCTION billing_period_changes();

-- Invoices are made while their month is closing, in the order of their numbers.
CREATE FUNCTION invoice_is_made() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM FROM billing_periods WHERE period = NEW.period AND state = 'closing' FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'invoices of % are made while it is closing, and at no other time', NEW.period
            USING ERRCODE = 'restrict_violation';
    ELSIF TG_TABLE_NAME = 'invoices' THEN
        PERFORM FROM billing_state WHERE last_invoice = NEW.number;
        IF NOT FOUND OR NEW.number > 1 AND NOT EXISTS (SELECT FROM invoices WHERE number = NEW.number - 1) THEN
            RAISE EXCEPTION 'numbers of invoices have no gaps: % is not the next one', NEW.number
                USING ERRCODE = 'restrict_violation';
        END IF;
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER invoice_is_made BEFORE INSERT ON invoices FOR EACH ROW EXECUTE FUNCTION invoice_is_made();
CREATE TRIGGER invoice_is_made BEFORE INSERT ON invoice_lines FOR EACH ROW EXECUTE FUNCTION invoice_is_made();

CREATE FUNCTION billing_stays() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'what was billed stays: % is not possible on %', TG_OP, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER billing_stays BEFORE UPDATE OR DELETE ON invoices FOR EACH ROW EXECUTE FUNCTION billing_stays();
CREATE TRIGGER billing_stays BEFORE UPDATE OR DELETE ON invoice_lines FOR EACH ROW EXECUTE FUNCTION billing_stays();
CREATE TRIGGER billing_stays BEFORE DELETE ON billing_state FOR EACH ROW EXECUTE FUNCTION billing_stays();
CREATE TRIGGER invoices_stay BEFORE TRUNCATE ON invoices FOR EACH STATEMENT EXECUTE FUNCTION billing_stays();
CREATE TRIGGER invoice_lines_stay BEFORE TRUNCATE ON invoice_lines FOR EACH STATEMENT EXECUTE FUNCTION billing_stays();
CREATE TRIGGER billing_periods_stay BEFORE TRUNCATE ON billing_periods FOR EACH STATEMENT EXECUTE FUNCTION billing_stays();
CREATE TRIGGER billing_state_stays BEFORE TRUNCATE ON billing_state FOR EACH STATEMENT EXECUTE FUNCTION billing_stays();
CREATE TRIGGER credits_stay BEFORE TRUNCATE ON credits FOR EACH STATEMENT EXECUTE FUNCTION billing_stays();

CREATE FUNCTION billing_state_grows() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NEW.closings < OLD.closings OR NEW.last_invoice NOT IN (OLD.last_invoice, OLD.last_invoice + 1) THEN
        RAISE EXCEPTION 'numbers of invoices go up, one by one' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER billing_state_grows BEFORE UPDATE ON billing_state FOR EACH ROW EXECUTE FUNCTION billing_state_grows();

-- Made, and taken back, while the month is open; in no other way changed.
CREATE FUNCTION credit_changes() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM require_open_months(NEW.period, NEW.period);
        RETURN NEW;
    ELSIF TG_OP = 'DELETE' THEN
        PERFORM require_open_months(OLD.period, OLD.period);
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'a credit is not changed' USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER credit_changes BEFORE INSERT OR UPDATE OR DELETE ON credits FOR EACH ROW EXECUTE FUNCTION credit_changes();

SELECT isolate_table(relation) FROM unnest(ARRAY[
    'billing_state', 'billing_periods', 'invoices', 'invoice_lines', 'credits'
]::regclass[]) AS relation;

GRANT SELECT, UPDATE ON billing_state TO hansard_operator;
-- UPDATE is the way from open to closed: the trigger refuses what is not.
GRANT SELECT, INSERT, UPDATE ON billing_periods TO hansard_operator;
GRANT SELECT, INSERT ON invoices, invoice_lines TO hansard_operator;
GRANT SELECT, INSERT, DELETE ON credits TO hansard_operator;
GRANT UPDATE (retired_at, retired_because) ON usage_sources TO hansard_operator;

REVOKE ALL ON FUNCTION next_month, usage_months, require_open_months, billing_period_changes, invoice_is_made, billing_stays,
    billing_state_grows, credit_changes FROM PUBLIC;
GRANT EXECUTE ON FUNCTION next_month, usage_months, require_open_months, usage_data_as_of TO hansard_operator;
