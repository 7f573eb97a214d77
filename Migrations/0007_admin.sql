-- What operators do: their tokens, the log of what was done, and answers that are kept so that a call which is repeated is
-- not done twice.

-- Whose statements see all tenants: operators' lists and changes. It cannot log in; the application's role takes it for a
-- transaction. Roles belong to the whole cluster, so that another database may have made it, even at this moment.
DO $$ BEGIN
    CREATE ROLE hansard_operator NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;

ALTER TABLE admin_tokens
    -- null is every tenant
    ADD COLUMN tenants uuid[],
    ADD COLUMN display_prefix text NOT NULL DEFAULT '',
    ADD COLUMN display_suffix text NOT NULL DEFAULT '',
    ADD COLUMN last_used_at timestamptz;

-- The feed names what changed, so that nodes read that alone: a tenant, a key, an operator's token (they are in the nodes'
-- snapshot as keys are, and a revoked one is refused everywhere as soon), or a command that nodes carry out.
ALTER TABLE access_events
    ALTER COLUMN tenant_id DROP NOT NULL,
    ADD COLUMN subject text CHECK (subject IN ('tenant', 'key', 'token', 'command')),
    ADD COLUMN subject_id text;
UPDATE access_events
SET subject = CASE WHEN key_id IS NULL THEN 'tenant' ELSE 'key' END, subject_id = coalesce(key_id, tenant_id::text);
ALTER TABLE access_events
    ALTER COLUMN subject SET NOT NULL, ALTER COLUMN subject_id SET NOT NULL, DROP COLUMN key_id;

CREATE OR REPLACE FUNCTION access_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    number bigint;
    changed jsonb := to_jsonb(CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END);
BEGIN
    UPDATE access_sequence SET value = value + 1 RETURNING value INTO STRICT number;
    INSERT INTO access_events (sequence, tenant_id, subject, subject_id, change)
    VALUES (number, (changed ->> 'tenant_id')::uuid, TG_ARGV[0], changed ->> TG_ARGV[1], lower(TG_OP));
    -- Nodes poll as well, because a notification is lost on whoever is not connected: the number is enough.
    PERFORM pg_notify('hansard_access', number::text);
    RETURN NULL;
END
$$;

DROP TRIGGER access_changed ON tenants;
DROP TRIGGER access_changed ON api_keys;
CREATE TRIGGER access_changed AFTER INSERT OR UPDATE OR DELETE ON tenants
    FOR EACH ROW EXECUTE FUNCTION access_changed('tenant', 'tenant_id');
-- That a key was used changes nothing that nodes know of it.
CREATE TRIGGER access_changed AFTER INSERT OR DELETE ON api_keys
    FOR EACH ROW EXECUTE FUNCTION access_changed('key', 'key_id');
CREATE TRIGGER access_updated AFTER UPDATE ON api_keys
    FOR EACH ROW WHEN (OLD.revision <> NEW.revision OR OLD.last_used_at IS NOT DISTINCT FROM NEW.last_used_at)
    EXECUTE FUNCTION access_changed('key', 'key_id');
CREATE TRIGGER access_change_begins BEFORE INSERT OR UPDATE OR DELETE ON admin_tokens
    FOR EACH STATEMENT EXECUTE FUNCTION access_change_begins();
CREATE TRIGGER access_changed AFTER INSERT OR UPDATE OR DELETE ON admin_tokens
    FOR EACH ROW EXECUTE FUNCTION access_changed('token', 'token_id');

ALTER TABLE tenants DROP CONSTRAINT tenants_status_check;
ALTER TABLE tenants ADD CHECK (status IN ('active', 'suspended', 'deleted'));
-- When the last transcript of a deleted tenant was erased; null while that is still to do.
ALTER TABLE tenants ADD COLUMN erased_at timestamptz;
CREATE INDEX tenants_by_creation ON tenants (created_at, tenant_id);

-- One chain for each tenant and one for what concerns none of them: each entry's hash covers the one before, so that an
-- entry which is altered or taken out is noticed. Entries outlive their tenant, without its name.
CREATE TABLE audit_log (
    event_id uuid PRIMARY KEY,
    tenant_id uuid,
    place bigint NOT NULL CHECK (place > 0),
    occurred_at timestamptz NOT NULL,
    actor_type text NOT NULL CHECK (actor_type IN ('admin_token', 'api_key', 'node', 'command')),
    actor_id text NOT NULL,
    action text NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('done', 'denied')),
    target_type text NOT NULL,
    target_id text NOT NULL,
    address text,
    user_agent text,
    request_id uuid,
    -- what was changed, from and to; no secrets
    changes jsonb NOT NULL,
    hash bytea NOT NULL CHECK (octet_length(hash) = 32),
    UNIQUE NULLS NOT DISTINCT (tenant_id, place)
);

CREATE INDEX audit_log_by_time ON audit_log (occurred_at DESC, event_id);
CREATE INDEX audit_log_by_tenant ON audit_log (tenant_id, occurred_at DESC, event_id);

-- What an entry's hash covers. Times are microseconds, so that no setting of the session changes the text.
CREATE FUNCTION audit_text(entry audit_log) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT convert_to(
        jsonb_build_object(
            'event_id', entry.event_id, 'tenant_id', entry.tenant_id, 'place', entry.place,
            'occurred_at', (extract(epoch FROM entry.occurred_at) * 1000000)::bigint,
            'actor_type', entry.actor_type, 'actor_id', entry.actor_id, 'action', entry.action,
            'outcome', entry.outcome, 'target_type', entry.target_type, 'target_id', entry.target_id,
            'address', entry.address, 'user_agent', entry.user_agent, 'request_id', entry.request_id,
            'changes', entry.changes)::text,
        'UTF8')
$$;

-- Appends to the chain of the entry's tenant. The lock is held until the transaction ends, so that places follow each
-- other without a gap and in the order of the commits.
CREATE FUNCTION append_audit(entry audit_log) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    previous audit_log;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('hansard.audit.' || coalesce(entry.tenant_id::text, ''), 0));
    SELECT * INTO previous FROM audit_log
    WHERE tenant_id IS NOT DISTINCT FROM entry.tenant_id ORDER BY place DESC LIMIT 1;
    entry.place := coalesce(previous.place, 0) + 1;
    entry.hash := sha256(coalesce(previous.hash, ''::bytea) || audit_text(entry));
    INSERT INTO audit_log SELECT (entry).*;
END
$$;

-- How many entries a chain has, and the first that does not follow from the one before; null if all do.
CREATE FUNCTION verify_audit(tenant uuid) RETURNS TABLE (entries bigint, first_wrong bigint) LANGUAGE sql STABLE AS $$
    SELECT count(*), min(place) FILTER (WHERE NOT is_right) FROM (
        SELECT place,
            place = row_number() OVER chain
                AND hash = sha256(coalesce(lag(hash) OVER chain, ''::bytea) || audit_text(entry)) AS is_right
        FROM audit_log AS entry WHERE tenant_id IS NOT DISTINCT FROM tenant
        WINDOW chain AS (ORDER BY place)
    ) AS links
$$;

CREATE FUNCTION audit_is_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'entries of the audit log are never changed' USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER audit_is_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_immutable();

-- The answers of calls that had an Idempotency-Key. They are written in the transaction of what they answer, and hold
-- no secret.
CREATE TABLE kept_answers (
    -- who called what
    caller text NOT NULL,
    route text NOT NULL,
    idempotency_key text NOT NULL,
    -- SHA-256 of the path and the body
    fingerprint bytea NOT NULL CHECK (octet_length(fingerprint) = 32),
    status integer NOT NULL,
    headers jsonb NOT NULL,
    body text NOT NULL,
    kept_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (caller, route, idempotency_key)
);

CREATE INDEX kept_answers_by_time ON kept_answers (kept_at);

-- What nodes are told to do, beside what they learn from tenants and keys: the same sequence, so that none is missed.
CREATE TABLE node_commands (
    command_id uuid PRIMARY KEY,
    tenant_id uuid,
    command text NOT NULL CHECK (command IN ('terminate', 'drain', 'undrain')),
    -- a session's id, or a node's name
    target text NOT NULL,
    given_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX node_commands_by_time ON node_commands (given_at);
CREATE TRIGGER access_change_begins BEFORE INSERT ON node_commands
    FOR EACH STATEMENT EXECUTE FUNCTION access_change_begins();
CREATE TRIGGER access_changed AFTER INSERT ON node_commands
    FOR EACH ROW EXECUTE FUNCTION access_changed('command', 'command_id');

GRANT SELECT, INSERT, UPDATE, DELETE ON tenants, api_keys, admin_tokens, kept_answers, node_commands TO hansard_operator;
GRANT SELECT, INSERT ON audit_log, access_events TO hansard_operator;
GRANT SELECT, UPDATE ON access_sequence TO hansard_operator;
GRANT SELECT ON usage_rows TO hansard_operator;

-- How far each tenant's transcripts have been looked through for those whose time is over, so that one node does it.
CREATE TABLE transcript_expiry (
    tenant_id uuid PRIMARY KEY,
    expired_through timestamptz NOT NULL
);

GRANT SELECT, INSERT, UPDATE ON transcript_expiry TO hansard_operator;
