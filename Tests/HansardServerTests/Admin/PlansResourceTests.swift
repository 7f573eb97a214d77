import Foundation
import Hansard
import Postgres
import Testing
import Web

@testable import HansardServer

extension AdminFixture {
    static let plans = "/v1/admin/plans"
    static let prices = #"{"currency":"USD","charges":[{"tiers":[{"unit_price":"0.024"}]}]}"#

    /// A plan with a version.
    ///
    /// - Returns: its id.
    func plan(_ name: String = "Standard") async throws -> String {
        let made = await call("POST", Self.plans, name: UUID().uuidString, body: #"{"name":"\#(name)"}"#)
        let id = try #require(made.object["id"] as? String, "\(made.text)")
        #expect(made.headers["location"] == "\(Self.plans)/\(id)" && made.headers["etag"] == "\"r1\"")
        #expect(await version(of: id).status == 201)
        return id
    }

    func version(of plan: String) async -> HTTPResponse {
        await call("POST", "\(Self.plans)/\(plan)/versions", name: UUID().uuidString, body: Self.prices)
    }

    /// - Parameter to: JSON.
    func assign(
        _ plan: String, version: Int = 1, from: String, to: String = "null", tenant: TenantID = Sample.tenant
    ) async -> HTTPResponse {
        await call(
            "POST", "/v1/admin/tenants/\(tenant)/plans", name: UUID().uuidString,
            body: #"{"plan_id":"\#(plan)","version":\#(version),"from_period":"\#(from)","to_period":\#(to)}"#)
    }
}

extension HTTPResponse {
    /// The pointer of the first error.
    var pointer: String? { (object["errors"] as? [[String: Any]])?.first?["pointer"] as? String }
    var detail: String { object["detail"] as? String ?? "" }
    fileprivate func listed(_ name: String) -> [String] {
        (object["data"] as? [[String: Any]] ?? []).map { "\($0[name] ?? "none")" }
    }
}

/// Plans and their versions, through the router.
@Suite struct PlansResourceTests {
    private let plans = AdminFixture.plans
    private let prices = AdminFixture.prices

    @Test func aPlanIsRenamedAndArchived() async throws {
        try await AdminFixture.run { fixture async throws in
            let path = "\(plans)/\(try await fixture.plan())"
            #expect(await fixture.call("PATCH", path, body: #"{"name":"New","archived":true}"#).status == 200)
            let archived = await fixture.call("GET", path)
            #expect(archived.object["archived"] as? Bool == true && archived.object["name"] as? String == "New")
            #expect(archived.headers["etag"] == "\"r2\"")
            let since = try #require(archived.object["archived_at"] as? String)
            let twice = await fixture.call("PATCH", path, body: #"{"archived":true}"#)
            #expect(twice.object["archived_at"] as? String == since)
            let again = await fixture.call("PATCH", path, body: #"{"archived":false}"#)
            #expect(again.object["archived"] as? Bool == false && again.object["archived_at"] is NSNull)
            #expect(await fixture.call("PATCH", path, tag: "\"r1\"", body: #"{"name":"Newer"}"#).status == 412)
            #expect(await fixture.call("PATCH", "\(plans)/\(UUID())", body: "{}").status == 404)
            #expect(await fixture.call("GET", "\(plans)/standard").status == 404)
            #expect(
                try await fixture.log()
                    == ["plan.create done", "plan_version.create done"]
                    + Array(repeating: "plan.update done", count: 3))
        }
    }

    @Test func aNameIsOnePlans() async throws {
        try await AdminFixture.run { fixture async throws in
            _ = try await fixture.plan("one")
            let other = try await fixture.plan("other")
            let twice = await fixture.call("POST", plans, name: "a", body: #"{"name":"one"}"#)
            #expect(twice.status == 409 && twice.pointer == "/name", "\(twice.text)")
            let renamed = await fixture.call("PATCH", "\(plans)/\(other)", body: #"{"name":"one"}"#)
            #expect(renamed.status == 409 && renamed.pointer == "/name", "\(renamed.text)")
            #expect(await fixture.call("PATCH", "\(plans)/\(other)", body: #"{"name":"other"}"#).status == 200)
            #expect(await fixture.call("GET", plans).listed("name") == ["other", "one"])
        }
    }

    @Test(arguments: [
        #"{}"#, #"{"name":""}"#, #"{"name":null}"#, #"{"name":"a\u0000b"}"#, #"{"name":"a\nb"}"#, #"{"name":"\u007f"}"#,
        #"{"name":["a"]}"#, #"{"name":"\#(String(repeating: "x", count: 201))"}"#,
    ])
    func aNameIsText(_ body: String) async throws {
        try await AdminFixture.run { fixture async throws in
            let answer = await fixture.call("POST", plans, name: "a", body: body)
            #expect(answer.status == 400 && answer.pointer == "/name", "\(answer.text)")
        }
    }

    @Test func unknownFieldsOfAPlanAreRefused() async throws {
        try await AdminFixture.run { fixture async throws in
            let made = await fixture.call("POST", plans, name: "a", body: #"{"name":"x","version_1":{}}"#)
            #expect(made.status == 400 && made.pointer == "/version_1")
            let path = "\(plans)/\(try await fixture.plan())"
            for (body, pointer) in [(#"{"archived":1}"#, "/archived"), (#"{"archived_at":null}"#, "/archived_at")] {
                let answer = await fixture.call("PATCH", path, body: body)
                #expect(answer.status == 400 && answer.pointer == pointer, "\(answer.text)")
            }
        }
    }

    // MARK: Versions

    @Test func versionsAreCountedAndNoNumberComesTwice() async throws {
        try await AdminFixture.run { fixture async throws in
            let plan = try await fixture.plan()
            let path = "\(plans)/\(plan)/versions"
            let second = await fixture.version(of: plan)
            #expect(second.object["version"] as? Int == 2 && second.headers["location"] == "\(path)/2")
            #expect(await fixture.call("DELETE", "\(path)/2").status == 204)
            #expect(await fixture.call("GET", "\(path)/2").status == 404)
            #expect(await fixture.version(of: plan).object["version"] as? Int == 3)
            #expect(await fixture.call("GET", path).listed("version") == ["3", "1"])
            let page = await fixture.call("GET", path, query: "limit=1")
            let cursor = try #require(page.object["next_cursor"] as? String)
            #expect(await fixture.call("GET", path, query: "limit=1&after=\(cursor)").listed("version") == ["1"])
            let other = try await fixture.plan("other")
            #expect(
                await fixture.call("GET", "\(plans)/\(other)/versions", query: "after=\(cursor)").status == 400)
            for number in ["0", "-1", "01", "4", "x", "99999999999"] {
                #expect(await fixture.call("GET", "\(path)/\(number)").status == 404)
            }
            #expect(await fixture.version(of: UUID().uuidString).status == 404)
        }
    }

    @Test func aVersionIsReplacedWhole() async throws {
        try await AdminFixture.run { fixture async throws in
            let path = "\(plans)/\(try await fixture.plan())/versions/1"
            let body = """
                {"currency":"EUR","minimum_ms":15000,"charges":[{"unit":"hour","tiers":[{"unit_price":"1.50"}]}]}
                """
            let changed = await fixture.call("PUT", path, tag: "\"r1\"", body: body)
            #expect(changed.status == 200 && changed.headers["etag"] == "\"r2\"")
            #expect(changed.text.contains(#""unit_price":"1.5""#) && changed.text.contains(#""minimum_ms":15000"#))
            #expect(await fixture.call("GET", path).body == changed.body)
            #expect(await fixture.call("PUT", path, body: prices).object["minimum_ms"] as? Int == 0)
            #expect(await fixture.call("PUT", path, tag: "\"r1\"", body: prices).status == 412)
            #expect(await fixture.call("DELETE", path, tag: "\"r2\"").status == 412)
            let empty = await fixture.call("PUT", path)
            #expect(empty.status == 400 && empty.pointer == "/currency")
            #expect(await fixture.call("PUT", path + "1", body: prices).status == 404)
            let gap = #"{"currency":"EUR","charges":[{"tiers":[{"up_to":5,"unit_price":"1"}]}]}"#
            let refused = await fixture.call("PUT", path, body: gap)
            #expect(refused.status == 422 && refused.pointer == "/charges/0/tiers/0/up_to")
        }
    }

    /// Also when the assignment is gone again.
    @Test(arguments: [false, true]) func aVersionThatWasAssignedStays(_ isGone: Bool) async throws {
        try await AdminFixture.run { fixture async throws in
            let plan = try await fixture.plan()
            let path = "\(plans)/\(plan)/versions/1"
            let before = await fixture.call("GET", path)
            #expect(before.object["used_at"] is NSNull)
            #expect(await fixture.assign(plan, from: "2026-11").status == 201)
            if isGone {
                #expect(await fixture.call("DELETE", "/v1/admin/tenants/\(Sample.tenant)/plans/2026-11").status == 204)
            }
            let used = await fixture.call("GET", path)
            #expect(used.object["used_at"] is String && used.headers["etag"] == "\"r2\"")
            let stale = await fixture.call("PUT", path, tag: before.headers["etag"], body: prices)
            #expect(stale.status == 412)
            for (method, body) in [("PUT", prices), ("DELETE", "")] {
                let refused = await fixture.call(method, path, body: body)
                #expect(refused.status == 409 && refused.detail.contains("make a new version"), "\(refused.text)")
            }
            #expect(await fixture.call("GET", path).body == used.body)
            #expect(await fixture.version(of: plan).object["version"] as? Int == 2)
        }
    }

    /// Whoever comes second knows of the first: a version is never other than when it was assigned.
    @Test func aVersionIsChangedBeforeItIsAssignedOrNotAtAll() async throws {
        try await AdminFixture.run { fixture async throws in
            let plan = try await fixture.plan()
            let path = "\(plans)/\(plan)/versions/1"
            let calls: [AdminFixture.Call] = [
                { await fixture.call("PUT", path, body: AdminFixture.prices) },
                { await fixture.call("DELETE", path) },
            ]
            let assignment: Query = """
                INSERT INTO plan_assignments
                VALUES (\(Sample.tenant.rawValue), '2026-01', NULL, \(UUID(uuidString: plan)), 1, 1, now(), now())
                """
            let answers = try await fixture.answers(calls, beside: assignment)
            #expect(answers.map(\.status) == [409, 409])
        }
    }

    // MARK: Who may

    @Test func aTokenOfSomeTenantsReadsPlansAndAssignsThem() async throws {
        try await AdminFixture.run { fixture async throws in
            let plan = try await fixture.plan()
            var token = AdminToken(id: "adm_1", name: "", role: .billing, createdAt: moment(0))
            token.tenants = [Sample.tenant]
            let limited = AdminFixture(
                stores: fixture.stores, transcripts: fixture.transcripts,
                router: try await fixture.stores.adminRouter(as: .token(token)))
            for path in [plans, "\(plans)/\(plan)", "\(plans)/\(plan)/versions", "\(plans)/\(plan)/versions/1"] {
                #expect(await limited.call("GET", path).status == 200)
            }
            for (method, path, body) in [
                ("POST", plans, #"{"name":"x"}"#), ("PATCH", "\(plans)/\(plan)", "{}"),
                ("POST", "\(plans)/\(plan)/versions", prices), ("PUT", "\(plans)/\(plan)/versions/1", prices),
                ("DELETE", "\(plans)/\(plan)/versions/1", ""),
            ] {
                #expect(await limited.call(method, path, name: UUID().uuidString, body: body).status == 403)
            }
            #expect(await limited.assign(plan, from: "2026-11").status == 201)
            #expect(await limited.assign(plan, from: "2026-11", tenant: Sample.otherTenant).status == 404)
            #expect(try await fixture.log().filter { $0.hasSuffix("denied") }.count == 6)
        }
    }
}

/// Who is billed by what, month by month, through the router.
@Suite struct PlanAssignmentsResourceTests {
    private let path = "/v1/admin/tenants/\(Sample.tenant)/plans"

    @Test func aTenantHasPlansOneAfterTheOther() async throws {
        try await AdminFixture.run { fixture async throws in
            let plan = try await fixture.plan()
            let first = await fixture.assign(plan, from: "2026-01")
            #expect(first.status == 201 && first.headers["location"] == "\(path)/2026-01")
            #expect(first.object["to_period"] is NSNull && first.object["plan_id"] as? String == plan)
            let ended = await fixture.call("PATCH", "\(path)/2026-01", tag: "\"r1\"", body: #"{"to_period":"2026-11"}"#)
            #expect(ended.status == 200 && ended.object["to_period"] as? String == "2026-11")
            #expect(await fixture.assign(plan, from: "2026-12").status == 201)
            #expect(await fixture.assign(plan, from: "2025-01", to: #""2025-12""#).status == 201)
            #expect(await fixture.call("GET", path).listed("from_period") == ["2026-12", "2026-01", "2025-01"])
            let page = await fixture.call("GET", path, query: "limit=2")
            let cursor = try #require(page.object["next_cursor"] as? String)
            #expect(await fixture.call("GET", path, query: "after=\(cursor)").listed("from_period") == ["2025-01"])
            #expect(await fixture.call("GET", "\(path)/2026-01").body == ended.body)
            #expect(await fixture.call("DELETE", "\(path)/2026-01", tag: "\"r1\"").status == 412)
            #expect(await fixture.call("DELETE", "\(path)/2026-01").status == 204)
            for month in ["2026-01", "2026-02", "junk"] {
                #expect(await fixture.call("GET", "\(path)/\(month)").status == 404)
            }
            #expect(
                try await fixture.log(Sample.tenant).map { $0.split(separator: " ")[0] }
                    == ["create", "update", "create", "create", "delete"].map { "plan_assignment.\($0)" })
        }
    }

    /// The tenant has 2026-03 to 2026-05, and 2026-10 on.
    @Test(
        arguments: [
            ("2026-05", nil, "2026-03"), ("2026-01", nil, "2026-03"), ("2026-01", "2026-03", "2026-03"),
            ("2026-04", "2026-04", "2026-03"), ("2026-03", "2026-05", "2026-03"), ("2026-06", nil, "2026-10"),
            ("2026-06", "2026-10", "2026-10"), ("2099-12", "2099-12", "2026-10"), ("2026-10", nil, "2026-10"),
            ("2026-06", "2026-09", nil), ("2026-02", "2026-02", nil),
        ] as [(String, String?, String?)])
    func aMonthHasOnePlan(_ from: String, _ to: String?, _ inTheWay: String?) async throws {
        try await AdminFixture.run { fixture async throws in
            let plan = try await fixture.plan()
            #expect(await fixture.assign(plan, from: "2026-03", to: #""2026-05""#).status == 201)
            #expect(await fixture.assign(plan, from: "2026-10").status == 201)
            let answer = await fixture.assign(plan, from: from, to: to.map { "\"\($0)\"" } ?? "null")
            guard let inTheWay else {
                #expect(answer.status == 201, "\(answer.text)")
                return
            }
            #expect(answer.status == 409 && answer.pointer == "/from_period", "\(answer.text)")
            #expect(answer.detail.contains("version 1 of plan '\(plan)' from \(inTheWay) "), "\(answer.text)")
        }
    }

    @Test func anEndIsNotMovedIntoTheNext() async throws {
        try await AdminFixture.run { fixture async throws in
            let plan = try await fixture.plan()
            #expect(await fixture.assign(plan, from: "2026-03", to: #""2026-05""#).status == 201)
            #expect(await fixture.assign(plan, from: "2026-10").status == 201)
            for (to, status, pointer) in [
                ("null", 409, "/to_period"), (#""2026-10""#, 409, "/to_period"), (#""2026-02""#, 422, "/to_period"),
                (#""2026-13""#, 400, "/to_period"), ("5", 400, "/to_period"), (#""2026-09""#, 200, nil),
                (#""2026-03""#, 200, nil),
            ] as [(String, Int, String?)] {
                let answer = await fixture.call("PATCH", "\(path)/2026-03", body: #"{"to_period":\#(to)}"#)
                #expect(answer.status == status && answer.pointer == pointer, "\(to): \(answer.text)")
            }
            let empty = await fixture.call("PATCH", "\(path)/2026-03", body: "{}")
            #expect(empty.status == 400 && empty.pointer == "/to_period")
            let other = await fixture.call("PATCH", "\(path)/2026-03", body: #"{"to_period":null,"version":2}"#)
            #expect(other.status == 400 && other.pointer == "/version")
        }
    }

    @Test func whatIsNotThereIsNotAssigned() async throws {
        try await AdminFixture.run { fixture async throws in
            let plan = try await fixture.plan()
            for (answer, status, pointer) in [
                (await fixture.assign(UUID().uuidString, from: "2026-01"), 422, "/plan_id"),
                (await fixture.assign("standard", from: "2026-01"), 400, "/plan_id"),
                (await fixture.assign(plan, version: 2, from: "2026-01"), 422, "/version"),
                (await fixture.assign(plan, version: 0, from: "2026-01"), 400, "/version"),
                (await fixture.assign(plan, from: "2026-1"), 400, "/from_period"),
                (await fixture.assign(plan, from: "2026-00"), 400, "/from_period"),
                (await fixture.assign(plan, from: "2026-02", to: #""2026-01""#), 422, "/to_period"),
                (await fixture.assign(plan, from: "2026-01", tenant: Sample.otherTenant), 404, nil),
            ] as [(HTTPResponse, Int, String?)] {
                #expect(answer.status == status && answer.pointer == pointer, "\(answer.text)")
            }
            let used = try await fixture.stores.ownerPool.query("SELECT FROM plan_versions WHERE used_at IS NOT NULL")
            #expect(used.isEmpty)
        }
    }

    /// Those that have it keep it, and their end may be moved.
    @Test func anArchivedPlanIsNotAssigned() async throws {
        try await AdminFixture.run { fixture async throws in
            let plan = try await fixture.plan()
            #expect(await fixture.assign(plan, from: "2026-01", to: #""2026-02""#).status == 201)
            let archive = "\(AdminFixture.plans)/\(plan)"
            #expect(await fixture.call("PATCH", archive, body: #"{"archived":true}"#).status == 200)
            let refused = await fixture.assign(plan, from: "2026-06")
            #expect(refused.status == 409 && refused.pointer == "/plan_id" && refused.detail.contains("archived"))
            #expect(await fixture.call("PATCH", "\(path)/2026-01", body: #"{"to_period":null}"#).status == 200)
            #expect(await fixture.call("PATCH", archive, body: #"{"archived":false}"#).status == 200)
            #expect(await fixture.assign(plan, from: "2025-01", to: #""2025-12""#).status == 201)
        }
    }

    @Test func ofTwoWhoAssignAtOnceOneIsTold() async throws {
        try await AdminFixture.run { fixture async throws in
            let plan = try await fixture.plan()
            let calls: [AdminFixture.Call] = ["2026-01", "2026-02"].map { month in
                { await fixture.assign(plan, from: month) }
            }
            let untouched: Query = "UPDATE tenants SET name = name WHERE tenant_id = \(Sample.tenant.rawValue)"
            let answers = try await fixture.answers(calls, beside: untouched)
            #expect(answers.map(\.status).sorted() == [201, 409])
            #expect(try await fixture.stores.ownerPool.query("SELECT FROM plan_assignments").count == 1)
        }
    }

    /// What somebody else is taking away is waited for.
    @Test(
        arguments: [
            ("UPDATE plans SET archived_at = now()", 409, "/plan_id"), ("DELETE FROM plan_versions", 422, "/version"),
            ("UPDATE tenants SET status = 'deleted'", 404, nil),
        ] as [(Query, Int, String?)])
    func whatIsBeingTakenAwayIsNotAssigned(_ change: Query, _ status: Int, _ pointer: String?) async throws {
        try await AdminFixture.run { fixture async throws in
            let plan = try await fixture.plan()
            let call: AdminFixture.Call = { await fixture.assign(plan, from: "2026-01") }
            let answer = try #require(try await fixture.answers([call], beside: change).first)
            #expect(answer.status == status && answer.pointer == pointer, "\(answer.text)")
            #expect(try await fixture.stores.ownerPool.query("SELECT FROM plan_assignments").isEmpty)
        }
    }

    /// What it used in its last months is still to be billed.
    @Test func aDeletedTenantsAssignmentsStayOutOfSight() async throws {
        try await AdminFixture.run { fixture async throws in
            let plan = try await fixture.plan()
            #expect(await fixture.assign(plan, from: "2026-01").status == 201)
            #expect(await fixture.call("DELETE", "/v1/admin/tenants/\(Sample.tenant)").status == 204)
            #expect(try await fixture.stores.ownerPool.query("SELECT FROM plan_assignments").count == 1)
            for (method, rest, body) in [
                ("GET", "", ""), ("GET", "/2026-01", ""), ("PATCH", "/2026-01", #"{"to_period":null}"#),
                ("DELETE", "/2026-01", ""),
            ] {
                #expect(await fixture.call(method, path + rest, body: body).status == 404)
            }
            #expect(await fixture.assign(plan, from: "2025-01", to: #""2025-01""#).status == 404)
        }
    }
}
