-- Tenants, their keys, operators' tokens, and the feed by which nodes learn that something changed.
--
-- Rules for all tables: a table with a tenant's data has tenant_id, so that row-level security can be put on it by one
-- policy; texts that are one of a few are checked here, because a value that no program can read must not get in.

CREATE TABLE tenants (
    tenant_id uuid PRIMARY KEY,
    name text NOT NULL,
    status text NOT NULL CHECK (status IN ('active', 'suspended')),
    -- null is no limit
    max_concurrent_sessions bigint CHECK (max_concurrent_sessions >= 0),
    -- grows with every change of a limit: connection stores ignore what is not newer than what they hold
    limit_version bigint NOT NULL CHECK (limit_version >= 0),
    -- null is the server's default
    default_engine text,
    created_at timestamptz NOT NULL
);

CREATE INDEX tenants_by_name ON tenants (name, created_at, tenant_id);

CREATE TABLE api_keys (
    key_id text PRIMARY KEY,
    tenant_id uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
    -- SHA-256 of the whole secret, which is never stored; with 256 random bits in it a slow hash would add nothing
    digest bytea NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    name text NOT NULL,
    scopes text[] NOT NULL,
    display_prefix text NOT NULL,
    display_suffix text NOT NULL,
    is_enabled boolean NOT NULL,
    expires_at timestamptz,
    created_at timestamptz NOT NULL
);

CREATE INDEX api_keys_by_tenant ON api_keys (tenant_id, created_at);

CREATE TABLE admin_tokens (
    token_id text PRIMARY KEY,
    digest bytea NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    name text NOT NULL,
    role text NOT NULL CHECK (role IN ('owner', 'operator', 'billing', 'viewer')),
    expires_at timestamptz,
    revoked_at timestamptz,
    created_at timestamptz NOT NULL
);

-- How many changes there have been. One row, apart from the events, so that polling it each second is one cheap read
-- and so that it cannot go back when old events are deleted.
CREATE TABLE access_sequence (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    value bigint NOT NULL
);

INSERT INTO access_sequence (value) VALUES (0);

CREATE TABLE access_events (
    sequence bigint PRIMARY KEY,
    tenant_id uuid NOT NULL,
    -- null: the tenant itself changed
    key_id text,
    change text NOT NULL CHECK (change IN ('insert', 'update', 'delete')),
    occurred_at timestamptz NOT NULL DEFAULT now()
);

-- Writers hold one lock from before they touch a row until they commit. Without it number 10 may become visible after
-- number 11, and a node that has read 11 would never look for 10. It is taken before the rows' own locks, in a statement
-- trigger, so that two writers cannot wait for each other.
CREATE FUNCTION access_change_begins() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('hansard.access', 0));
    RETURN NULL;
END
$$;

CREATE FUNCTION access_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    number bigint;
    changed jsonb := to_jsonb(CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END);
BEGIN
    UPDATE access_sequence SET value = value + 1 RETURNING value INTO STRICT number;
    INSERT INTO access_events (sequence, tenant_id, key_id, change)
    VALUES (number, (changed ->> 'tenant_id')::uuid, changed ->> 'key_id', lower(TG_OP));
    -- Nodes poll as well, because a notification is lost on whoever is not connected: the number is enough.
    PERFORM pg_notify('hansard_access', number::text);
    RETURN NULL;
END
$$;

CREATE TRIGGER access_change_begins BEFORE INSERT OR UPDATE OR DELETE ON tenants
    FOR EACH STATEMENT EXECUTE FUNCTION access_change_begins();
CREATE TRIGGER access_changed AFTER INSERT OR UPDATE OR DELETE ON tenants
    FOR EACH ROW EXECUTE FUNCTION access_changed();
CREATE TRIGGER access_change_begins BEFORE INSERT OR UPDATE OR DELETE ON api_keys
    FOR EACH STATEMENT EXECUTE FUNCTION access_change_begins();
CREATE TRIGGER access_changed AFTER INSERT OR UPDATE OR DELETE ON api_keys
    FOR EACH ROW EXECUTE FUNCTION access_changed();
