-- Limits of tenants and of keys alike, sessions begun in a minute, and grants of a month's minutes.
--
-- An owner is a tenant, 'T#' and its id, or a key, 'K#' and its name. Functions are one round trip each and rely on READ
-- COMMITTED: each statement after a lock sees what the one who held it before has committed. Locks are taken in one order,
-- so that nobody waits in a circle: the tenant's row, then the key's, then what only their holder touches.

ALTER TABLE tenant_slots RENAME TO slots;
ALTER TABLE slots ADD COLUMN owner text, ADD COLUMN max_new_per_minute bigint;
UPDATE slots SET owner = 'T#' || tenant_id;
DROP FUNCTION claim_lease(leases, bigint, bigint);
DROP FUNCTION release_lease(uuid, uuid, uuid, session_status);
DROP FUNCTION reap_lease(uuid, uuid, text, uuid, session_status);
DROP FUNCTION repair_tenant_slots(uuid);
DROP FUNCTION lock_tenant_slots(uuid);
-- The primary key goes with its column.
ALTER TABLE slots DROP COLUMN tenant_id;
ALTER TABLE slots ADD PRIMARY KEY (owner);

-- Whether the key's row counts it as well: the key had limits when it was claimed.
ALTER TABLE leases ADD COLUMN counts_key boolean NOT NULL DEFAULT false;
CREATE INDEX leases_by_key ON leases (key_id) WHERE counts_key;

CREATE TABLE new_sessions (
    owner text NOT NULL,
    -- the first moment of the minute
    minute timestamptz NOT NULL,
    begun bigint NOT NULL,
    expires_at timestamptz NOT NULL DEFAULT now() + interval '1 hour',
    PRIMARY KEY (owner, minute)
);

CREATE INDEX new_sessions_by_expiry ON new_sessions (expires_at);

CREATE TYPE admission_limit AS (max_leases bigint, max_new_per_minute bigint, limit_version bigint);

-- Takes the owner's row lock, making the row if there is none, and raises its limit if this one is of higher version. No
-- version is above none.
CREATE FUNCTION lock_slots(whose text, stated admission_limit) RETURNS slots LANGUAGE plpgsql AS $$
DECLARE
    counted slots;
BEGIN
    SELECT * INTO counted FROM slots WHERE owner = whose FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO slots (owner) VALUES (whose) ON CONFLICT DO NOTHING;
        SELECT * INTO STRICT counted FROM slots WHERE owner = whose FOR UPDATE;
    END IF;
    IF stated.limit_version > counted.limit_version THEN
        UPDATE slots
        SET max_leases = stated.max_leases, max_new_per_minute = stated.max_new_per_minute,
            limit_version = stated.limit_version
        WHERE owner = whose
        RETURNING * INTO STRICT counted;
    END IF;
    RETURN counted;
END
$$;

CREATE FUNCTION state_admission_limit(whose text, stated admission_limit) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM lock_slots(whose, stated);
END
$$;

-- Which of the owner's limits leaves no room, null if none does. The owner's row is locked, and with it its minutes.
CREATE FUNCTION reached_limit(counted slots, at_minute timestamptz) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF counted.held >= counted.max_leases THEN
        RETURN 'concurrent_sessions';
    ELSIF counted.max_new_per_minute IS NULL THEN
        RETURN NULL;
    ELSIF counted.max_new_per_minute <= coalesce(
        (SELECT begun FROM new_sessions WHERE owner = counted.owner AND minute = at_minute), 0
    ) THEN
        RETURN 'new_sessions_per_minute';
    END IF;
    RETURN NULL;
END
$$;

-- Counts one more new session. Minutes that are over go, a few at a time; rows that another transaction is at are left to
-- it.
CREATE FUNCTION count_new_session(whose text, at_minute timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO new_sessions (owner, minute, begun) VALUES (whose, at_minute, 1)
    ON CONFLICT (owner, minute) DO UPDATE SET begun = new_sessions.begun + 1;
    DELETE FROM new_sessions WHERE (owner, minute) IN (
        SELECT owner, minute FROM new_sessions WHERE expires_at < now()
        ORDER BY expires_at LIMIT 4 FOR UPDATE SKIP LOCKED
    );
END
$$;

-- Functions are called from here only where there is something for them to do: each call costs.
--
-- 'claimed', 'superseded', or whose limit is reached, 'tenant' or 'key', and which.
CREATE FUNCTION claim_lease(claim leases, tenant_limit admission_limit, key_limit admission_limit)
RETURNS TABLE (outcome text, limit_kind text, limit_that_counted bigint) LANGUAGE plpgsql AS $$
DECLARE
    of_tenant slots := lock_slots('T#' || claim.tenant_id, tenant_limit);
    of_key slots;
    refusing slots;
    present uuid;
    at_minute timestamptz := date_trunc('minute', claim.claimed_at, 'UTC');
BEGIN
    IF claim.counts_key THEN
        of_key := lock_slots('K#' || claim.key_id, key_limit);
    END IF;
    SELECT nonce INTO present FROM leases
    WHERE tenant_id = claim.tenant_id AND session_id = claim.session_id;
    IF present = claim.nonce THEN
        outcome := 'claimed';
    ELSIF present IS NOT NULL OR EXISTS (
        SELECT FROM lease_tombstones
        WHERE tenant_id = claim.tenant_id AND session_id = claim.session_id AND expires_at > now()
    ) THEN
        outcome := 'superseded';
    ELSE
        refusing := of_tenant;
        IF of_tenant.held >= of_tenant.max_leases OR of_tenant.max_new_per_minute IS NOT NULL THEN
            limit_kind := reached_limit(of_tenant, at_minute);
        END IF;
        IF limit_kind IS NULL AND claim.counts_key THEN
            refusing := of_key;
            limit_kind := reached_limit(of_key, at_minute);
        END IF;
        IF limit_kind IS NOT NULL THEN
            outcome := CASE WHEN refusing.owner = of_tenant.owner THEN 'tenant' ELSE 'key' END;
            limit_that_counted := CASE limit_kind
                WHEN 'concurrent_sessions' THEN refusing.max_leases ELSE refusing.max_new_per_minute END;
        ELSE
            outcome := 'claimed';
            INSERT INTO leases SELECT (claim).*;
            UPDATE slots SET held = held + 1 WHERE owner = of_tenant.owner;
            IF of_tenant.max_new_per_minute IS NOT NULL THEN
                PERFORM count_new_session(of_tenant.owner, at_minute);
            END IF;
            IF claim.counts_key THEN
                UPDATE slots SET held = held + 1 WHERE owner = of_key.owner;
                IF of_key.max_new_per_minute IS NOT NULL THEN
                    PERFORM count_new_session(of_key.owner, at_minute);
                END IF;
            END IF;
        END IF;
    END IF;
    RETURN NEXT;
END
$$;

-- True if the lease was held with this nonce.
CREATE FUNCTION release_lease(tenant uuid, session uuid, claim_nonce uuid, status session_status)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    present leases;
BEGIN
    PERFORM lock_slots('T#' || tenant, NULL);
    SELECT * INTO present FROM leases WHERE tenant_id = tenant AND session_id = session;
    IF present.nonce = claim_nonce THEN
        DELETE FROM leases WHERE tenant_id = tenant AND session_id = session;
        UPDATE slots SET held = held - 1 WHERE owner = 'T#' || tenant;
        IF present.counts_key THEN
            UPDATE slots SET held = held - 1 WHERE owner = 'K#' || present.key_id;
        END IF;
        PERFORM bury_lease(tenant, session);
        PERFORM store_status(status, true);
        RETURN true;
    END IF;
    IF present.nonce IS NULL THEN
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
    dead leases;
BEGIN
    PERFORM lock_slots('T#' || tenant, NULL);
    DELETE FROM leases
    WHERE tenant_id = tenant AND session_id = session AND node = dead_node AND epoch = dead_epoch
    RETURNING * INTO dead;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO reaped_sessions (session_id, nonce) VALUES (session, dead.nonce)
    ON CONFLICT (session_id) DO UPDATE SET nonce = excluded.nonce, reaped_at = excluded.reaped_at;
    UPDATE slots SET held = held - 1 WHERE owner = 'T#' || tenant;
    IF dead.counts_key THEN
        UPDATE slots SET held = held - 1 WHERE owner = 'K#' || dead.key_id;
    END IF;
    PERFORM bury_lease(tenant, session);
    PERFORM store_status(status, true);
    RETURN true;
END
$$;

-- By how much the counter was too high; negative if it was too low.
CREATE FUNCTION repair_tenant_slots(tenant uuid) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    counted slots := lock_slots('T#' || tenant, NULL);
    present bigint;
BEGIN
    SELECT count(*) INTO present FROM leases WHERE tenant_id = tenant;
    IF counted.held <> present THEN
        UPDATE slots SET held = present WHERE owner = counted.owner;
    END IF;
    RETURN counted.held - present;
END
$$;

CREATE FUNCTION repair_key_slots(key text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    counted slots := lock_slots('K#' || key, NULL);
    present bigint;
BEGIN
    SELECT count(*) INTO present FROM leases WHERE key_id = key AND counts_key;
    IF counted.held <> present THEN
        UPDATE slots SET held = present WHERE owner = counted.owner;
    END IF;
    RETURN counted.held - present;
END
$$;

-- Minutes of audio in a UTC month, 'YYYY-MM', in milliseconds.
CREATE TABLE minute_quotas (
    owner text NOT NULL,
    period text NOT NULL CHECK (period ~ '^\d{4}-\d{2}$'),
    -- what all nodes hold or have used
    granted_ms bigint NOT NULL DEFAULT 0,
    -- null is no limit
    limit_ms bigint,
    policy text NOT NULL DEFAULT 'hard' CHECK (policy IN ('hard', 'soft')),
    -- below every version that a limit can have
    limit_version bigint NOT NULL DEFAULT -1,
    PRIMARY KEY (owner, period)
) WITH (fillfactor = 50);

-- What one life of a node was granted, less what it has given back. It stays charged when the node dies, until it is known
-- what it used of it.
CREATE TABLE minute_grants (
    owner text NOT NULL,
    period text NOT NULL,
    node text NOT NULL,
    epoch uuid NOT NULL,
    granted_ms bigint NOT NULL,
    -- how many requests have changed it: one that arrives again changes nothing
    seq bigint NOT NULL,
    -- set once its epoch is over for good; it stays so that nothing that was delayed can make it anew
    retired_at timestamptz,
    PRIMARY KEY (owner, period, node, epoch)
) WITH (fillfactor = 50);

CREATE INDEX minute_grants_by_epoch ON minute_grants (epoch, node) WHERE retired_at IS NULL;

CREATE TYPE minute_limit AS (limit_ms bigint, policy text, limit_version bigint);

-- As lock_slots, for a quota.
CREATE FUNCTION lock_minutes(whose text, in_period text, stated minute_limit)
RETURNS minute_quotas LANGUAGE plpgsql AS $$
DECLARE
    quota minute_quotas;
BEGIN
    SELECT * INTO quota FROM minute_quotas WHERE owner = whose AND period = in_period FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO minute_quotas (owner, period) VALUES (whose, in_period) ON CONFLICT DO NOTHING;
        SELECT * INTO STRICT quota FROM minute_quotas WHERE owner = whose AND period = in_period FOR UPDATE;
    END IF;
    IF stated.limit_version > quota.limit_version THEN
        UPDATE minute_quotas
        SET limit_ms = stated.limit_ms, policy = stated.policy, limit_version = stated.limit_version
        WHERE owner = whose AND period = in_period
        RETURNING * INTO STRICT quota;
    END IF;
    RETURN quota;
END
$$;

CREATE FUNCTION state_minute_limit(whose text, in_period text, stated minute_limit) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM lock_minutes(whose, in_period, stated);
END
$$;

-- Grows a grant by up to `change` milliseconds, or gives `-change` back: 'held', 'exhausted' or 'retired', the grant as it
-- is then, and the quota.
CREATE FUNCTION change_minute_grant(
    whose text, in_period text, of_node text, of_epoch uuid, request_seq bigint, change bigint, stated minute_limit
) RETURNS TABLE (
    outcome text, grant_ms bigint, seq bigint, granted_ms bigint, limit_ms bigint, policy text, limit_version bigint
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    quota minute_quotas := lock_minutes(whose, in_period, stated);
    held minute_grants;
    by_ms bigint := change;
BEGIN
    SELECT * INTO held FROM minute_grants g
    WHERE g.owner = whose AND g.period = in_period AND g.node = of_node AND g.epoch = of_epoch;
    IF held.retired_at IS NOT NULL OR held.seq IS NULL AND request_seq > 1 THEN
        outcome := 'retired';
    ELSIF request_seq <> coalesce(held.seq, 0) + 1 THEN
        outcome := 'held';
    ELSE
        IF change > 0 AND quota.policy = 'hard' AND quota.limit_ms IS NOT NULL THEN
            by_ms := least(change, quota.limit_ms - quota.granted_ms);
        END IF;
        IF change > 0 AND by_ms <= 0 THEN
            outcome := 'exhausted';
        ELSE
            outcome := 'held';
            UPDATE minute_quotas q SET granted_ms = q.granted_ms + by_ms
            WHERE q.owner = whose AND q.period = in_period
            RETURNING * INTO STRICT quota;
            INSERT INTO minute_grants AS g (owner, period, node, epoch, granted_ms, seq)
            VALUES (whose, in_period, of_node, of_epoch, by_ms, 1)
            ON CONFLICT (owner, period, node, epoch) DO UPDATE SET granted_ms = g.granted_ms + by_ms, seq = g.seq + 1
            RETURNING * INTO STRICT held;
            IF held.seq = 1 THEN
                -- What is long over is of no use to anybody.
                DELETE FROM minute_grants g
                WHERE g.owner = whose AND g.period < least(in_period, to_char(now() - interval '100 days', 'YYYY-MM'));
            END IF;
        END IF;
    END IF;
    RETURN QUERY SELECT outcome, held.granted_ms, held.seq,
        quota.granted_ms, quota.limit_ms, quota.policy, quota.limit_version;
END
$$;

-- True if the epoch's grant was not retired before.
CREATE FUNCTION retire_minute_grant(whose text, in_period text, of_node text, of_epoch uuid, used_ms bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    unspent bigint;
BEGIN
    PERFORM lock_minutes(whose, in_period, NULL);
    SELECT granted_ms - used_ms INTO unspent FROM minute_grants
    WHERE owner = whose AND period = in_period AND node = of_node AND epoch = of_epoch AND retired_at IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE minute_grants SET granted_ms = used_ms, retired_at = now()
    WHERE owner = whose AND period = in_period AND node = of_node AND epoch = of_epoch;
    UPDATE minute_quotas SET granted_ms = granted_ms - unspent WHERE owner = whose AND period = in_period;
    RETURN true;
END
$$;
