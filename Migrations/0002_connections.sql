-- Nodes, leases, tenants' slot counters and the status of ended sessions: what the nodes share while they serve.
--
-- No foreign key leads to tenants: another store may hold these in another installation, and a session's status outlives
-- its tenant's row.

CREATE TABLE nodes (
    node text NOT NULL,
    epoch uuid NOT NULL,
    -- Another value at each heartbeat. Peers judge by its changing on their own clock; heartbeat_at is for people.
    heartbeat uuid NOT NULL,
    address text NOT NULL,
    region text NOT NULL,
    version text NOT NULL,
    is_draining boolean NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (node, epoch)
);

-- One row per tenant. Its row lock is what makes claims, releases and reaps of a tenant take turns: each takes it first
-- and nothing else before it, so that they cannot deadlock. Room is left in its pages so that updates stay in place.
CREATE TABLE tenant_slots (
    tenant_id uuid PRIMARY KEY,
    held bigint NOT NULL DEFAULT 0,
    -- null is no limit
    max_leases bigint,
    -- below every version that a limit can have: the first limit given always counts
    limit_version bigint NOT NULL DEFAULT -1
) WITH (fillfactor = 50);

CREATE TABLE leases (
    tenant_id uuid NOT NULL,
    session_id uuid NOT NULL,
    connection_id uuid NOT NULL,
    key_id text NOT NULL,
    node text NOT NULL,
    epoch uuid NOT NULL,
    nonce uuid NOT NULL,
    address text NOT NULL,
    region text NOT NULL,
    claimed_at timestamptz NOT NULL,
    used_ms bigint NOT NULL CHECK (used_ms >= 0),
    PRIMARY KEY (tenant_id, session_id)
) WITH (fillfactor = 80);

CREATE INDEX leases_by_epoch ON leases (epoch, node);

-- In place of a lease that was given back, was taken from a dead node, or never arrived: a claim that was delayed on its
-- way must not take a slot for which nobody is left. After ten minutes no statement can still be on its way.
CREATE TABLE lease_tombstones (
    tenant_id uuid NOT NULL,
    session_id uuid NOT NULL,
    expires_at timestamptz NOT NULL DEFAULT now() + interval '10 minutes',
    PRIMARY KEY (tenant_id, session_id)
);

CREATE INDEX lease_tombstones_by_expiry ON lease_tombstones (expires_at);

CREATE TABLE session_status (
    session_id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    key_id text NOT NULL,
    state text NOT NULL CHECK (state IN ('storing', 'completed', 'interrupted', 'failed', 'terminated')),
    end_state text NOT NULL CHECK (end_state IN ('completed', 'interrupted', 'failed', 'terminated')),
    reason text NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL,
    audio_ms bigint NOT NULL CHECK (audio_ms >= 0),
    finals bigint NOT NULL CHECK (finals >= 0),
    transcript_location text,
    region text NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX session_status_by_tenant ON session_status (tenant_id, ended_at DESC, session_id);

-- The functions below are one round trip each. They rely on READ COMMITTED: each statement after the lock sees what the
-- one who held it before has committed.

-- Takes the tenant's row lock, making the row if there is none: a release that came before the first claim would
-- otherwise have nothing to wait on.
CREATE FUNCTION lock_tenant_slots(tenant uuid) RETURNS tenant_slots LANGUAGE plpgsql AS $$
DECLARE
    slots tenant_slots;
BEGIN
    SELECT * INTO slots FROM tenant_slots WHERE tenant_id = tenant FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO tenant_slots (tenant_id) VALUES (tenant) ON CONFLICT DO NOTHING;
        SELECT * INTO STRICT slots FROM tenant_slots WHERE tenant_id = tenant FOR UPDATE;
    END IF;
    RETURN slots;
END
$$;

-- 'claimed', 'limit' or 'superseded', and the limit that counted.
CREATE FUNCTION claim_lease(claim leases, claim_limit bigint, claim_version bigint)
RETURNS TABLE (outcome text, limit_that_counted bigint) LANGUAGE plpgsql AS $$
DECLARE
    slots tenant_slots := lock_tenant_slots(claim.tenant_id);
    present uuid;
BEGIN
    SELECT nonce INTO present FROM leases
    WHERE tenant_id = claim.tenant_id AND session_id = claim.session_id;
    IF claim_version > slots.limit_version THEN
        slots.max_leases := claim_limit;
        slots.limit_version := claim_version;
    END IF;
    IF present = claim.nonce THEN
        outcome := 'claimed';
    ELSIF present IS NOT NULL OR EXISTS (
        SELECT FROM lease_tombstones
        WHERE tenant_id = claim.tenant_id AND session_id = claim.session_id AND expires_at > now()
    ) THEN
        outcome := 'superseded';
    ELSIF slots.held >= slots.max_leases THEN
        outcome := 'limit';
    ELSE
        outcome := 'claimed';
        slots.held := slots.held + 1;
        INSERT INTO leases SELECT (claim).*;
    END IF;
    UPDATE tenant_slots
    SET held = slots.held, max_leases = slots.max_leases, limit_version = slots.limit_version
    WHERE tenant_id = claim.tenant_id
        AND (held, limit_version) IS DISTINCT FROM (slots.held, slots.limit_version);
    limit_that_counted := slots.max_leases;
    RETURN NEXT;
END
$$;

-- Leaves a tombstone, and removes a few that have expired so that the table stays as small as ten minutes of sessions.
CREATE FUNCTION bury_lease(tenant uuid, session uuid) RETURNS void LANGUAGE sql AS $$
    INSERT INTO lease_tombstones (tenant_id, session_id) VALUES (tenant, session)
    ON CONFLICT (tenant_id, session_id) DO UPDATE SET expires_at = excluded.expires_at;
    -- Rows that another transaction is at are left to it.
    DELETE FROM lease_tombstones WHERE (tenant_id, session_id) IN (
        SELECT tenant_id, session_id FROM lease_tombstones WHERE expires_at < now()
        ORDER BY expires_at LIMIT 4 FOR UPDATE SKIP LOCKED
    );
$$;

-- Sessions whose end a peer stated because it took their node for dead. If the node lives after all, or comes back, it
-- knows better: with the lease's nonce it may replace that statement, once.
CREATE TABLE reaped_sessions (
    session_id uuid PRIMARY KEY,
    nonce uuid NOT NULL,
    reaped_at timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION store_status(status session_status, replaces boolean) RETURNS void LANGUAGE sql AS $$
    INSERT INTO session_status SELECT (status).*
    ON CONFLICT (session_id) DO UPDATE SET
        (state, end_state, reason, started_at, ended_at, audio_ms, finals, transcript_location, region, stored_at)
        = (excluded.state, excluded.end_state, excluded.reason, excluded.started_at, excluded.ended_at,
            excluded.audio_ms, excluded.finals, excluded.transcript_location, excluded.region, excluded.stored_at)
    WHERE replaces;
$$;

-- True if the lease was held with this nonce.
CREATE FUNCTION release_lease(tenant uuid, session uuid, claim_nonce uuid, status session_status)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    present uuid;
BEGIN
    PERFORM lock_tenant_slots(tenant);
    SELECT nonce INTO present FROM leases WHERE tenant_id = tenant AND session_id = session;
    IF present = claim_nonce THEN
        DELETE FROM leases WHERE tenant_id = tenant AND session_id = session;
        UPDATE tenant_slots SET held = held - 1 WHERE tenant_id = tenant;
        PERFORM bury_lease(tenant, session);
        PERFORM store_status(status, true);
        RETURN true;
    END IF;
    IF present IS NULL THEN
        PERFORM bury_lease(tenant, session);
        DELETE FROM reaped_sessions WHERE session_id = session AND nonce = claim_nonce;
        PERFORM store_status(status, FOUND);
    END IF;
    -- Otherwise the session goes on under another claim, and its end is not ours to state.
    RETURN false;
END
$$;

-- True if the epoch still held the lease.
CREATE FUNCTION reap_lease(tenant uuid, session uuid, dead_node text, dead_epoch uuid, status session_status)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    dead_nonce uuid;
BEGIN
    PERFORM lock_tenant_slots(tenant);
    DELETE FROM leases
    WHERE tenant_id = tenant AND session_id = session AND node = dead_node AND epoch = dead_epoch
    RETURNING nonce INTO dead_nonce;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO reaped_sessions (session_id, nonce) VALUES (session, dead_nonce)
    ON CONFLICT (session_id) DO UPDATE SET nonce = excluded.nonce, reaped_at = excluded.reaped_at;
    UPDATE tenant_slots SET held = held - 1 WHERE tenant_id = tenant;
    PERFORM bury_lease(tenant, session);
    PERFORM store_status(status, true);
    RETURN true;
END
$$;

-- By how much the counter was too high; negative if it was too low.
CREATE FUNCTION repair_tenant_slots(tenant uuid) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    slots tenant_slots := lock_tenant_slots(tenant);
    present bigint;
BEGIN
    SELECT count(*) INTO present FROM leases WHERE tenant_id = tenant;
    IF slots.held <> present THEN
        UPDATE tenant_slots SET held = present WHERE tenant_id = tenant;
    END IF;
    RETURN slots.held - present;
END
$$;
