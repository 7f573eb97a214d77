-- What tenants pay by: plans, their versions, and which version holds for a tenant in which months. Plans and versions are the
-- installation's, and no tenant sees them; an assignment is its tenant's. It outlives the tenant, as what was used does: the last
-- months are still to be billed.

CREATE TABLE plans (
    plan_id uuid PRIMARY KEY,
    name text NOT NULL UNIQUE,
    -- since when it is not assigned any more; null is that it is
    archived_at timestamptz,
    -- the highest number that a version was given: no number is given twice, though its version was deleted
    last_version integer NOT NULL DEFAULT 0 CHECK (last_version >= 0),
    revision bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE INDEX plans_by_creation ON plans (created_at, plan_id);

CREATE TABLE plan_versions (
    plan_id uuid NOT NULL REFERENCES plans,
    version integer NOT NULL CHECK (version > 0),
    -- as the API has it; prices are texts, so that nothing rounds them
    document jsonb NOT NULL CHECK (jsonb_typeof(document) = 'object'),
    -- when it was first assigned, though that assignment may be gone; null is never. From then on nothing of it changes.
    used_at timestamptz,
    revision bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (plan_id, version)
);

CREATE FUNCTION used_plan_version_stays() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_LEVEL = 'STATEMENT' THEN
        RAISE EXCEPTION 'versions of plans are not removed all at once' USING ERRCODE = 'restrict_violation';
    ELSIF OLD.used_at IS NOT NULL THEN
        RAISE EXCEPTION 'version % of plan % was assigned to a tenant: it is neither changed nor deleted', OLD.version,
            OLD.plan_id USING ERRCODE = 'restrict_violation';
    ELSIF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER used_plan_version_stays BEFORE UPDATE OR DELETE ON plan_versions
    FOR EACH ROW EXECUTE FUNCTION used_plan_version_stays();
CREATE TRIGGER plan_versions_stay BEFORE TRUNCATE ON plan_versions
    FOR EACH STATEMENT EXECUTE FUNCTION used_plan_version_stays();

-- A tenant as a range, the one of its id alone: an exclusion constraint compares ranges by what Postgres has itself, and bare
-- uuids only by an extension that not every server has.
CREATE TYPE tenant_range AS RANGE (subtype = uuid, multirange_type_name = tenant_multirange);

CREATE TABLE plan_assignments (
    tenant_id uuid NOT NULL REFERENCES tenants,
    -- UTC months, 'YYYY-MM', both included; no last one is no end
    from_period text COLLATE "C" NOT NULL CHECK (from_period ~ '^[0-9]{4}-(0[1-9]|1[0-2])$'),
    to_period text COLLATE "C" CHECK (to_period ~ '^[0-9]{4}-(0[1-9]|1[0-2])$'),
    plan_id uuid NOT NULL,
    version integer NOT NULL,
    revision bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, from_period),
    FOREIGN KEY (plan_id, version) REFERENCES plan_versions,
    CHECK (to_period >= from_period),
    -- In each month a tenant has one plan at most, whoever assigns them and however many at once. Months are compared as the
    -- numbers that their digits are.
    CONSTRAINT plan_assignments_overlap EXCLUDE USING gist (
        tenant_range(tenant_id, tenant_id, '[]') WITH =,
        int4range(replace(from_period, '-', '')::integer, replace(to_period, '-', '')::integer, '[]') WITH &&
    )
);

CREATE INDEX plan_assignments_by_version ON plan_assignments (plan_id, version);

-- Whatever changes by which plan a month of a tenant is billed comes through here: an insert and a delete change the months from
-- from_period to to_period, an update those after the earlier of its two ends. When months can be closed, this is where a change
-- of one that is closed is refused.
CREATE FUNCTION plan_assignment_changes() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    ELSIF TG_OP = 'UPDATE' AND (NEW.tenant_id, NEW.from_period, NEW.plan_id, NEW.version)
        IS DISTINCT FROM (OLD.tenant_id, OLD.from_period, OLD.plan_id, OLD.version)
    THEN
        -- Or a version would be used that nobody has marked.
        RAISE EXCEPTION 'of an assignment only the end is changed' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER plan_assignment_changes BEFORE INSERT OR UPDATE OR DELETE ON plan_assignments
    FOR EACH ROW EXECUTE FUNCTION plan_assignment_changes();

-- The row's lock makes who changes the version at this moment and who assigns it come one after the other.
CREATE FUNCTION plan_version_is_used() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE plan_versions SET used_at = now(), revision = revision + 1, updated_at = now()
    WHERE plan_id = NEW.plan_id AND version = NEW.version AND used_at IS NULL;
    RETURN NULL;
END
$$;

CREATE TRIGGER plan_version_is_used AFTER INSERT ON plan_assignments
    FOR EACH ROW EXECUTE FUNCTION plan_version_is_used();

SELECT isolate_table(relation) FROM unnest(ARRAY['plans', 'plan_versions', 'plan_assignments']::regclass[]) AS relation;
GRANT SELECT, INSERT, UPDATE ON plans TO hansard_operator;
GRANT SELECT, INSERT, UPDATE, DELETE ON plan_versions, plan_assignments TO hansard_operator;

REVOKE ALL ON FUNCTION used_plan_version_stays, plan_assignment_changes, plan_version_is_used FROM PUBLIC;
-- What the type has brought along; the constraint calls the first on behalf of whoever writes.
REVOKE ALL ON FUNCTION tenant_range(uuid, uuid, text), tenant_range(uuid, uuid), tenant_multirange(),
    tenant_multirange(tenant_range), tenant_multirange(tenant_range[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenant_range(uuid, uuid, text) TO hansard_operator;
