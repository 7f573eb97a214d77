-- Tenants are kept apart by the database itself: nodes log in as a role that owns nothing and sees, by its own statements,
-- the rows of the one tenant that it has named, and none without. What must see all tenants is a function that this file
-- lists, a door.
--
-- No role has BYPASSRLS, which only a superuser could give: policies say what each sees. Roles belong to the whole cluster,
-- so that another database may have made them, even at this moment.

-- What nodes' logins are members of.
DO $$ BEGIN
    -- NOINHERIT: the operators' sight is taken for a transaction, never had.
    CREATE ROLE hansard_app NOLOGIN NOINHERIT;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;

-- As whom doors run.
DO $$ BEGIN
    CREATE ROLE hansard_doors NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;

DO $$ BEGIN
    IF NOT pg_has_role('hansard_app', 'hansard_operator', 'MEMBER') THEN
        GRANT hansard_operator TO hansard_app;
    END IF;
EXCEPTION WHEN unique_violation THEN NULL;
END $$;

-- Policies are forced on the owner as well, who may be no superuser: it sees what these two see, so that later migrations
-- can change rows, and may give doors away.
DO $$
DECLARE
    seer text;
BEGIN
    FOREACH seer IN ARRAY ARRAY['hansard_operator', 'hansard_doors'] LOOP
        IF NOT pg_has_role(current_user, seer, 'USAGE') THEN
            BEGIN
                EXECUTE format('GRANT %I TO CURRENT_USER', seer);
            EXCEPTION WHEN unique_violation THEN NULL;
            END;
        END IF;
    END LOOP;
END $$;

GRANT USAGE ON SCHEMA public TO hansard_app, hansard_operator, hansard_doors;
-- Whoever may make things there could put something in a door's way.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

-- For this migration and later ones: lets doors and operators see all of a table, and hansard_app what is of its tenant;
-- where no tenant is named, nothing. The subselect is evaluated once for a statement.
CREATE FUNCTION isolate_table(relation regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', relation);
    EXECUTE format('CREATE POLICY seen_by_operators ON %s TO hansard_operator USING (true) WITH CHECK (true)', relation);
    EXECUTE format('CREATE POLICY seen_by_doors ON %s TO hansard_doors USING (true) WITH CHECK (true)', relation);
    IF EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = relation AND attname = 'tenant_id' AND NOT attisdropped
    ) THEN
        EXECUTE format(
            'CREATE POLICY seen_by_tenant ON %s TO hansard_app '
            'USING (tenant_id = (SELECT nullif(current_setting(''app.tenant_id'', true), '''')::uuid)) '
            'WITH CHECK (tenant_id = (SELECT nullif(current_setting(''app.tenant_id'', true), '''')::uuid))',
            relation);
    END IF;
    -- Without a policy that is no row: a statement that forgot its tenant finds nothing, on every table alike.
    EXECUTE format('GRANT SELECT ON %s TO hansard_app', relation);
END
$$;

-- For this migration and later ones: makes a function a door. It is needed again after CREATE OR REPLACE, which forgets it.
CREATE FUNCTION make_door(door regprocedure) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER SET search_path = public, pg_temp', door);
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', door);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO hansard_app', door);
    -- The new owner must be allowed to make functions there, at this moment.
    GRANT CREATE ON SCHEMA public TO hansard_doors;
    EXECUTE format('ALTER FUNCTION %s OWNER TO hansard_doors', door);
    REVOKE CREATE ON SCHEMA public FROM hansard_doors;
END
$$;

SELECT isolate_table(relation) FROM unnest(ARRAY[
    'tenants', 'api_keys', 'admin_tokens', 'access_sequence', 'access_events', 'nodes', 'slots', 'leases',
    'lease_tombstones', 'session_status', 'reaped_sessions', 'usage_rows', 'new_sessions', 'minute_quotas',
    'minute_grants', 'audit_log', 'kept_answers', 'node_commands', 'transcript_expiry'
]::regclass[]) AS relation;

-- It is the owner's, who reads it before any of this is there: not forced.
ALTER TABLE schema_migrations ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON schema_migrations TO hansard_app;

GRANT SELECT ON tenants, api_keys, admin_tokens, access_sequence, access_events, node_commands TO hansard_doors;
GRANT SELECT, INSERT, UPDATE ON slots, session_status, usage_rows, minute_quotas TO hansard_doors;
GRANT SELECT, INSERT, UPDATE, DELETE
    ON nodes, leases, lease_tombstones, reaped_sessions, new_sessions, minute_grants TO hansard_doors;
-- What lists of live use and of sessions are made from.
GRANT SELECT ON nodes, slots, leases, session_status, new_sessions, minute_quotas, minute_grants TO hansard_operator;

-- Functions are everybody's unless that is taken back. Those of extensions are not ours.
DO $$
DECLARE
    ours regprocedure;
BEGIN
    FOR ours IN
        SELECT oid FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND NOT EXISTS (
            SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid AND deptype = 'e')
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', ours);
    END LOOP;
END $$;
GRANT EXECUTE ON FUNCTION append_audit, audit_text, verify_audit TO hansard_operator;
-- What doors call.
GRANT EXECUTE ON FUNCTION lock_slots, reached_limit, count_new_session, bury_lease, store_status, lock_minutes
    TO hansard_doors;

-- Nodes, leases and statuses.

CREATE FUNCTION renew_lease(tenant uuid, session uuid, claim_nonce uuid, connection uuid, used bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE leases SET connection_id = connection, used_ms = greatest(used_ms, used)
    WHERE tenant_id = tenant AND session_id = session AND nonce = claim_nonce;
    RETURN FOUND;
END
$$;

CREATE FUNCTION finish_storing(session uuid, stored_location text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE session_status SET state = end_state, transcript_location = stored_location
    WHERE session_id = session AND state = 'storing';
    RETURN FOUND;
END
$$;

-- None while the session is held.
CREATE FUNCTION status_of_session(session uuid) RETURNS SETOF session_status LANGUAGE sql STABLE AS $$
    SELECT * FROM session_status s WHERE session_id = session AND NOT EXISTS (
        SELECT FROM leases l WHERE l.tenant_id = s.tenant_id AND l.session_id = s.session_id)
$$;

CREATE FUNCTION leases_held_by(of_node text, of_epoch uuid) RETURNS SETOF leases LANGUAGE sql STABLE AS $$
    SELECT * FROM leases WHERE epoch = of_epoch AND node = of_node ORDER BY claimed_at, session_id
$$;

CREATE FUNCTION heartbeat_of_node(
    of_node text, of_epoch uuid, beat uuid, at_address text, in_region text, of_version text, drains boolean
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO nodes (node, epoch, heartbeat, address, region, version, is_draining)
    VALUES (of_node, of_epoch, beat, at_address, in_region, of_version, drains)
    ON CONFLICT (node, epoch) DO UPDATE
    SET heartbeat = excluded.heartbeat, address = excluded.address, region = excluded.region,
        version = excluded.version, is_draining = excluded.is_draining, heartbeat_at = now();
END
$$;

CREATE FUNCTION all_nodes() RETURNS SETOF nodes LANGUAGE sql STABLE AS $$
    SELECT * FROM nodes ORDER BY registered_at, node, epoch
$$;

CREATE FUNCTION remove_node(of_node text, of_epoch uuid) RETURNS void LANGUAGE sql AS $$
    DELETE FROM nodes WHERE node = of_node AND epoch = of_epoch
$$;

-- Minutes.

CREATE FUNCTION minutes_used(whose text, in_period text) RETURNS SETOF minute_quotas LANGUAGE sql STABLE AS $$
    SELECT * FROM minute_quotas WHERE owner = whose AND period = in_period AND limit_version >= 0
$$;

CREATE FUNCTION minute_grants_held_by(of_node text, of_epoch uuid) RETURNS SETOF minute_grants LANGUAGE sql STABLE AS $$
    SELECT * FROM minute_grants
    WHERE epoch = of_epoch AND node = of_node AND retired_at IS NULL ORDER BY owner, period
$$;

-- Usage. Arrays of arrays are flattened by unnest, so that each row's tags come as one JSON text. A row's counters and its
-- end only ever go up.
CREATE FUNCTION record_usage(
    tenants uuid[], sessions uuid[], keys text[], engines text[], models text[], languages text[], tag_lists text[],
    regions text[], channel_counts bigint[], audio bigint[], engine bigint[], connected bigint[],
    starts timestamptz[], ends timestamptz[]
) RETURNS void LANGUAGE sql AS $$
    INSERT INTO usage_rows (tenant_id, session_id, key_id, engine, model, language, tags, region, channels, audio_ms,
        engine_ms, connected_ms, started_at, ended_at)
    SELECT u.tenant_id, u.session_id, u.key_id, u.engine, u.model, u.language,
        ARRAY(SELECT tag FROM jsonb_array_elements_text(u.tags::jsonb) WITH ORDINALITY AS t (tag, place)
            ORDER BY place),
        u.region, u.channels, u.audio_ms, u.engine_ms, u.connected_ms, u.started_at, u.ended_at
    FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
        AS u (tenant_id, session_id, key_id, engine, model, language, tags, region, channels, audio_ms, engine_ms,
            connected_ms, started_at, ended_at)
    ON CONFLICT (tenant_id, session_id) DO UPDATE
    SET audio_ms = greatest(usage_rows.audio_ms, excluded.audio_ms),
        engine_ms = greatest(usage_rows.engine_ms, excluded.engine_ms),
        connected_ms = greatest(usage_rows.connected_ms, excluded.connected_ms),
        ended_at = greatest(usage_rows.ended_at, excluded.ended_at)
    WHERE (excluded.audio_ms, excluded.engine_ms, excluded.connected_ms, excluded.ended_at) IS DISTINCT FROM
        (usage_rows.audio_ms, usage_rows.engine_ms, usage_rows.connected_ms, usage_rows.ended_at)
$$;

-- Tenants, keys and tokens, for the snapshot that every node holds, and the feed that keeps it fresh.

CREATE FUNCTION last_access_change() RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT value FROM access_sequence
$$;

CREATE FUNCTION access_events_since(last bigint, at_most bigint) RETURNS SETOF access_events LANGUAGE sql STABLE AS $$
    SELECT * FROM access_events WHERE sequence > last ORDER BY sequence LIMIT at_most
$$;

-- Those that were not deleted; null is all.
CREATE FUNCTION tenants_for_nodes(ids uuid[]) RETURNS SETOF tenants LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF ids IS NULL THEN
        RETURN QUERY SELECT * FROM tenants WHERE status <> 'deleted';
    ELSE
        RETURN QUERY SELECT * FROM tenants WHERE status <> 'deleted' AND tenant_id = ANY(ids);
    END IF;
END
$$;

CREATE FUNCTION keys_for_nodes(ids text[]) RETURNS SETOF api_keys LANGUAGE sql STABLE AS $$
    SELECT * FROM api_keys WHERE key_id = ANY(ids)
$$;

-- The next keys in the order of their ids, byte by byte.
CREATE FUNCTION keys_after(last text, at_most bigint) RETURNS SETOF api_keys LANGUAGE sql STABLE AS $$
    SELECT * FROM api_keys WHERE key_id > last COLLATE "C" ORDER BY key_id COLLATE "C" LIMIT at_most
$$;

CREATE FUNCTION admin_tokens_for_nodes() RETURNS SETOF admin_tokens LANGUAGE sql STABLE AS $$
    SELECT * FROM admin_tokens WHERE revoked_at IS NULL
$$;

CREATE FUNCTION commands_for_nodes(ids uuid[]) RETURNS SETOF node_commands LANGUAGE sql STABLE AS $$
    SELECT * FROM node_commands WHERE command_id = ANY(ids) ORDER BY given_at, command_id
$$;

-- All doors.
SELECT make_door(door) FROM unnest(ARRAY[
    'claim_lease(leases, admission_limit, admission_limit)',
    'renew_lease(uuid, uuid, uuid, uuid, bigint)',
    'release_lease(uuid, uuid, uuid, session_status)',
    'reap_lease(uuid, uuid, text, uuid, session_status)',
    'leases_held_by(text, uuid)',
    'finish_storing(uuid, text)',
    'status_of_session(uuid)',
    'state_admission_limit(text, admission_limit)',
    'repair_tenant_slots(uuid)',
    'repair_key_slots(text)',
    'heartbeat_of_node(text, uuid, uuid, text, text, text, boolean)',
    'all_nodes()',
    'remove_node(text, uuid)',
    'change_minute_grant(text, text, text, uuid, bigint, bigint, minute_limit)',
    'state_minute_limit(text, text, minute_limit)',
    'retire_minute_grant(text, text, text, uuid, bigint)',
    'minutes_used(text, text)',
    'minute_grants_held_by(text, uuid)',
    'record_usage(uuid[], uuid[], text[], text[], text[], text[], text[], text[], bigint[], bigint[], bigint[],
        bigint[], timestamptz[], timestamptz[])',
    'last_access_change()',
    'access_events_since(bigint, bigint)',
    'tenants_for_nodes(uuid[])',
    'keys_for_nodes(text[])',
    'keys_after(text, bigint)',
    'admin_tokens_for_nodes()',
    'commands_for_nodes(uuid[])'
]::regprocedure[]) AS door;

-- What a node reads of one tenant: no doors, but statements of its own that name the tenant. The tenant is named for the
-- call alone; a failure undoes the setting with the transaction. (A function's SET clause would do the same, but only a
-- superuser may give one a parameter that the server does not know.)

CREATE FUNCTION name_tenant(tenant text) RETURNS text LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    named_before text := coalesce(current_setting('app.tenant_id', true), '');
BEGIN
    PERFORM set_config('app.tenant_id', tenant, true);
    RETURN named_before;
END
$$;

CREATE FUNCTION leases_of_tenant(tenant uuid) RETURNS SETOF leases LANGUAGE plpgsql
SET search_path = public, pg_temp AS $$
DECLARE
    named_before text := name_tenant(tenant::text);
BEGIN
    RETURN QUERY SELECT * FROM leases WHERE tenant_id = tenant ORDER BY claimed_at, session_id;
    PERFORM name_tenant(named_before);
END
$$;

CREATE FUNCTION usage_of_session(tenant uuid, session uuid) RETURNS SETOF usage_rows LANGUAGE plpgsql
SET search_path = public, pg_temp AS $$
DECLARE
    named_before text := name_tenant(tenant::text);
BEGIN
    RETURN QUERY SELECT * FROM usage_rows WHERE tenant_id = tenant AND session_id = session;
    PERFORM name_tenant(named_before);
END
$$;

REVOKE ALL ON FUNCTION name_tenant, leases_of_tenant, usage_of_session FROM PUBLIC;
GRANT EXECUTE ON FUNCTION name_tenant, leases_of_tenant, usage_of_session TO hansard_app;
