import Foundation
import Hansard
import Postgres
import Testing

@testable import HansardServer

/// Tenants are kept apart by the database itself (`Migrations/0008_isolation.sql`), whatever a node's statements say.
@Suite struct IsolationTests {
    /// What sees all tenants. Whoever adds a door adds it here, with a call that shows that it needs nothing of its caller.
    static let doors: [String: Query] = [
        "access_events_since": "SELECT access_events_since(0, 10)::text",
        "access_position": "SELECT access_position()::text",
        "admin_tokens_for_nodes": "SELECT admin_tokens_for_nodes()::text",
        "all_nodes": "SELECT all_nodes()::text",
        "are_usage_records_dropped": "SELECT are_usage_records_dropped(now(), now())::text",
        "change_minute_grant":
            """
        SELECT change_minute_grant('T#door', '2026-01', 'n', gen_random_uuid(), 1, 10,
            ROW(10, 'hard', 1)::minute_limit)::text
        """,
        "claim_lease":
            """
        SELECT claim_lease(
            ROW(gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'door', 'n',
                gen_random_uuid(), gen_random_uuid(), '', '', now(), 0, true)::leases,
            ROW(9, 9, 1)::admission_limit, ROW(9, 9, 1)::admission_limit)::text
        """,
        "commands_between": "SELECT commands_between(0, 9, 10)::text",
        "commands_for_nodes": "SELECT commands_for_nodes(ARRAY(SELECT gen_random_uuid()))::text",
        "count_reaped_usage": "SELECT count_reaped_usage('n', gen_random_uuid())::text",
        "finish_usage_sources": "SELECT finish_usage_sources(gen_random_uuid(), gen_random_uuid())::text",
        "finish_storing": "SELECT finish_storing(gen_random_uuid(), 'x')::text",
        "heartbeat_of_node":
            "SELECT heartbeat_of_node('n', gen_random_uuid(), gen_random_uuid(), '', '', '', false)::text",
        "hold_usage_events": "SELECT hold_usage_events(gen_random_uuid(), 1)::text",
        "ingest_usage":
            """
        SELECT ingest_usage(ARRAY[gen_random_uuid()], ARRAY[gen_random_uuid()], '{0}', '{node}', '{0}', '{2026-05}',
            '{2026-05-28T00:00:00Z}', '{1}', '{1}', '{1}', '{t}', '{k}', '{e}', '{m}', '{l}', '{[]}', '{r}', '{1}',
            '{2026-05-28T00:00:00Z}', '{2026-05-28T00:00:00Z}', '{0}', '{0}')::text
        """,
        "keys_after": "SELECT keys_after('', 10)::text",
        "keys_for_nodes": "SELECT keys_for_nodes(ARRAY['key_a'])::text",
        "last_access_change": "SELECT last_access_change()::text",
        "leases_held_by": "SELECT leases_held_by('n', gen_random_uuid())::text",
        "make_usage_events": "SELECT make_usage_events(10, 60)::text",
        "minute_grants_held_by": "SELECT minute_grants_held_by('n', gen_random_uuid())::text",
        "minutes_used": "SELECT minutes_used('T#door', '2026-01')::text",
        "new_sessions_in_minute": "SELECT new_sessions_in_minute('T#door', now())::text",
        "note_reaped_usage":
            """
        SELECT note_reaped_usage(ARRAY[gen_random_uuid()], ARRAY[gen_random_uuid()], '{n}', ARRAY[gen_random_uuid()], '{k}',
            '{r}', ARRAY[now()], ARRAY[now()], '{1}')::text
        """,
        "prune_rows":
            "SELECT prune_rows(now(), now(), 10, now() - interval '1 day', now() - interval '1 day', now())::text",
        "prune_usage_records": "SELECT prune_usage_records(now() - interval '10000 days')::text",
        "prune_usage_events": "SELECT prune_usage_events(now(), 10)::text",
        "reap_lease": "SELECT reap_lease(gen_random_uuid(), gen_random_uuid(), 'n', gen_random_uuid(), NULL)::text",
        "record_usage":
            """
        SELECT record_usage(ARRAY[gen_random_uuid()], ARRAY[gen_random_uuid()], '{k}', '{e}', '{m}', '{l}', '{[]}',
            '{r}', '{1}', '{1}', '{1}', '{1}', ARRAY[now()], ARRAY[now()], '{completed}', '{r}', '{1}', '{t}')::text
        """,
        "register_usage_source":
            "SELECT register_usage_source('n', gen_random_uuid(), gen_random_uuid())::text",
        "release_lease":
            """
        SELECT release_lease(gen_random_uuid(), s, gen_random_uuid(),
            ROW(s, gen_random_uuid(), 'door', 'completed', 'completed', '', now(), now(), 0, 0, NULL, '', now(),
                0)::session_status)::text
        FROM gen_random_uuid() AS s
        """,
        "remove_node": "SELECT remove_node('n', gen_random_uuid())::text",
        "renew_lease":
            "SELECT renew_lease(gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 1)::text",
        "repair_key_slots": "SELECT repair_key_slots('door')::text",
        "repair_tenant_slots": "SELECT repair_tenant_slots(gen_random_uuid())::text",
        "retire_minute_grant": "SELECT retire_minute_grant('T#door', '2026-01', 'n', gen_random_uuid(), 0)::text",
        "roll_usage": "SELECT roll_usage(10)::text",
        "sessions_held_by": "SELECT sessions_held_by('n', gen_random_uuid())::text",
        "state_admission_limit": "SELECT state_admission_limit('T#door', ROW(1, 1, 2)::admission_limit)::text",
        "state_minute_limit":
            "SELECT state_minute_limit('T#door', '2026-01', ROW(1, 'hard', 2)::minute_limit)::text",
        "status_of_session": "SELECT status_of_session(gen_random_uuid())::text",
        "tenants_for_nodes": "SELECT tenants_for_nodes(NULL)::text",
        "usage_data_as_of": "SELECT usage_data_as_of()::text",
        "usage_events_after": "SELECT usage_events_after(0, 10)::text",
        "usage_events_delivered": "SELECT usage_events_delivered(gen_random_uuid(), 1, NULL)::text",
        "usage_is_complete": "SELECT usage_is_complete('n', gen_random_uuid(), now(), true)::text",
    ]
    /// What doors and operators call and the tables' owner must do: it sees nobody's rows.
    static let ownersFunctions = ["await_ingest", "drop_usage_records", "ensure_usage_partitions"]
    /// What nodes call beside them, under the policies that bind themselves.
    static let ownFunctions = ["leases_of_tenant", "name_tenant", "usage_as_of", "usage_of_hours", "usage_of_session"]
    /// Tables that are not forced on their owner: it reads this one before there is any role.
    static let unforced = ["schema_migrations"]

    private func texts(_ rows: [Row], _ column: String) throws -> [String] {
        try rows.map { try $0.value(column, as: String.self) }
    }

    // MARK: What the catalogue says

    @Test func everyTableHasItsPolicies() async throws {
        try await StoreFixture.with { fixture in
            let tables = try await fixture.tables()
            #expect(tables.count > 15)
            for table in tables {
                let row = try await fixture.ownerPool.query(
                    """
                    SELECT relkind IN ('r', 'p') AS is_table, relrowsecurity AS is_enabled,
                        relforcerowsecurity AS is_forced
                    FROM pg_class WHERE oid = \(table.name)::regclass
                    """
                ).only()
                #expect(try row.value("is_table"), "\(table.name): a view would need security_invoker")
                #expect(try row.value("is_enabled"), "\(table.name)")
                #expect(try row.value("is_forced") || Self.unforced.contains(table.name), "\(table.name)")
                let policies = try await fixture.ownerPool.query(
                    """
                    SELECT array_to_string(roles, ',') || ' ' || cmd || ' ' || permissive || ' ' || coalesce(qual, '')
                        || ' ' || coalesce(with_check, '') AS policy
                    FROM pg_policies WHERE schemaname = 'public' AND tablename = \(table.name) ORDER BY roles
                    """)
                let named = "(NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::uuid"
                let own = "(tenant_id = ( SELECT \(named) AS \"nullif\"))"
                var expected = ["hansard_doors ALL PERMISSIVE true true", "hansard_operator ALL PERMISSIVE true true"]
                if table.hasTenant { expected.insert("hansard_app ALL PERMISSIVE \(own) \(own)", at: 0) }
                if Self.unforced.contains(table.name) { expected = [] }
                #expect(try texts(policies, "policy").sorted() == expected, "\(table.name)")
            }
        }
    }

    @Test func nodesOwnNothingAndWriteNothingThemselves() async throws {
        try await StoreFixture.with { fixture in
            let owned = try await fixture.ownerPool.query(
                """
                SELECT d.objid FROM pg_shdepend d JOIN pg_roles r ON d.refobjid = r.oid
                WHERE d.refclassid = 'pg_authid'::regclass AND d.deptype = 'o'
                    AND r.rolname IN ('hansard_app', 'hansard_operator', 'hansard_test_node')
                """)
            #expect(owned.isEmpty)
            let special = try await fixture.ownerPool.query(
                """
                SELECT rolname::text AS name FROM pg_roles WHERE rolname LIKE 'hansard%' AND (rolsuper OR rolbypassrls
                    OR rolcreaterole OR rolcreatedb OR rolreplication
                    OR rolcanlogin AND rolname IN ('hansard_app', 'hansard_operator', 'hansard_doors'))
                """)
            #expect(try texts(special, "name").filter { $0 != "hansard" }.isEmpty, "hansard is the cluster's superuser")
            // Privileges of the login itself, through whatever role; partitions are tables of pg_class like others.
            for table in try await fixture.tables() {
                let row = try await fixture.ownerPool.query(
                    """
                    SELECT has_table_privilege('hansard_test_node', \(table.name),
                        'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER, REFERENCES')
                        OR has_any_column_privilege('hansard_test_node', \(table.name), 'INSERT, UPDATE') AS may_write
                    """
                ).only()
                #expect(try row.value("may_write", as: Bool.self) == false, "\(table.name)")
            }
            let may = try await fixture.ownerPool.query(
                """
                SELECT has_schema_privilege('hansard_test_node', 'public', 'CREATE')
                    OR has_schema_privilege('hansard_doors', 'public', 'CREATE') AS may_create,
                    pg_has_role('hansard_test_node', 'hansard_operator', 'USAGE') AS has_all,
                    pg_has_role('hansard_test_node', 'hansard_operator', 'MEMBER') AS may_take_all,
                    pg_has_role('hansard_test_node', 'hansard_doors', 'MEMBER') AS is_door
                """
            ).only()
            #expect(try may.value("may_create", as: Bool.self) == false)
            #expect(try may.value("has_all", as: Bool.self) == false)
            #expect(try may.value("may_take_all"))
            #expect(try may.value("is_door", as: Bool.self) == false)
        }
    }

    @Test func theDoorsAreThoseListed() async throws {
        try await StoreFixture.with { fixture in
            let definers = try await fixture.ownerPool.query(
                """
                SELECT proname::text AS name, proowner::regrole::text AS owner, proconfig AS settings,
                    has_function_privilege('hansard_app', oid, 'EXECUTE') AS is_open
                FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace ORDER BY proname
                """)
            #expect(try texts(definers, "name") == (Self.doors.keys + Self.ownersFunctions).sorted())
            for door in definers {
                let isDoor = try !Self.ownersFunctions.contains(door.value("name"))
                #expect(try (door.value("owner") == "hansard_doors") == isDoor)
                #expect(try door.value("settings") == ["search_path=public, pg_temp"])
                #expect(try door.value("is_open") == isDoor)
            }
            let open = try await fixture.ownerPool.query(
                """
                SELECT p.proname::text AS name FROM pg_proc p
                WHERE p.pronamespace = 'public'::regnamespace
                    AND has_function_privilege('hansard_test_node', p.oid, 'EXECUTE')
                ORDER BY 1
                """)
            #expect(try texts(open, "name") == (Self.doors.keys + Self.ownFunctions).sorted())
            // 0 is PUBLIC; without an ACL a function is everybody's.
            let everybodys = try await fixture.ownerPool.query(
                """
                SELECT p.proname::text AS name FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND (
                    p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) AS a WHERE a.grantee = 0))
                """)
            #expect(try texts(everybodys, "name") == [])
        }
    }

    @Test func eachDoorWorksForANode() async throws {
        try await StoreFixture.with { fixture in
            for (name, call) in Self.doors {
                #expect(call.sql.contains(name + "("))
                await #expect(throws: Never.self, "\(name)") { try await fixture.pool.query(call) }
            }
        }
    }
}
