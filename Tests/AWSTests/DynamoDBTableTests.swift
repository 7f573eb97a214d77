import EventLoops
import Foundation
import HTTPClient
import Testing

@testable import AWS

/// A table is made as far as it is missing, whatever was there before.
@Suite struct DynamoDBTableTests {
    private static let layout = DynamoDB.Layout(
        partitionKey: "pk", sortKey: "sk", index: "by_node", indexKey: "node_epoch", expiry: "ttl")
    private static let index = described(index: "ALL", [("node_epoch", "HASH")])
    private static let missing = ScriptedTransport.error(400, "ResourceNotFoundException")
    private static let noExpiry = #"{"TimeToLiveDescription":{"TimeToLiveStatus":"DISABLED"}}"#

    private static func described(
        _ status: String = "ACTIVE", keys: [(String, String)] = [("pk", "HASH"), ("sk", "RANGE")],
        types: [String: String] = [:], index: String? = index
    ) -> ScriptedTransport.Answer {
        let indexes = index.map { #","GlobalSecondaryIndexes":[\#($0)]"# } ?? ""
        let names = keys.map(\.0) + ["node_epoch", "node"]
        let definitions = names.map { #"{"AttributeName":"\#($0)","AttributeType":"\#(types[$0] ?? "S")"}"# }
        return ScriptedTransport.answer(
            200,
            #"{"Table":{"TableName":"box","TableStatus":"\#(status)","KeySchema":\#(schema(keys))"#
                + #","AttributeDefinitions":[\#(definitions.joined(separator: ","))]\#(indexes)}}"#)
    }

    private static func schema(_ keys: [(String, String)]) -> String {
        "[" + keys.map { #"{"AttributeName":"\#($0.0)","KeyType":"\#($0.1)"}"# }.joined(separator: ",") + "]"
    }

    private static func described(index projection: String, _ keys: [(String, String)]) -> String {
        #"{"IndexName":"by_node","IndexStatus":"ACTIVE","KeySchema":\#(schema(keys))"#
            + #","Projection":{"ProjectionType":"\#(projection)"}}"#
    }

    private static func expiry(_ status: String, _ attribute: String = "ttl") -> ScriptedTransport.Answer {
        ScriptedTransport.answer(
            200, #"{"TimeToLiveDescription":{"TimeToLiveStatus":"\#(status)","AttributeName":"\#(attribute)"}}"#)
    }

    private static let ok = ScriptedTransport.answer(200, "{}")
    private static let made: [DynamoDB.Preparation] = [
        .made("table box"), .found("index by_node"), .made("expiry by ttl"),
    ]
    private static let found: [DynamoDB.Preparation] = [
        .found("table box"), .found("index by_node"), .found("expiry by ttl"),
    ]

    /// What was done, how often it was waited, and what was asked.
    private func prepare(
        _ answers: [ScriptedTransport.Answer]
    ) async throws -> (done: [DynamoDB.Preparation], sleeps: Int, asked: [String], script: DynamoDBScript) {
        let script = DynamoDBScript(answers)
        let sleeps = Locked(0)
        let done = try await script.table.prepare(Self.layout) { duration in
            #expect(duration == DynamoDB.preparationInterval)
            sleeps.withLock { $0 += 1 }
        }
        #expect(script.transport.unused == 0)
        let asked = script.operations.compactMap { $0.split(separator: ".").last.map(String.init) }
        return (done, sleeps.withLock { $0 }, asked, script)
    }

    @Test func aTableIsMadeAndWaitedFor() async throws {
        let result = try await prepare([
            Self.missing, Self.ok, Self.missing, Self.described("CREATING"), Self.described("CREATING"),
            Self.described(), ScriptedTransport.answer(200, Self.noExpiry), Self.ok,
        ])
        #expect(result.done == Self.made && result.sleeps == 3)
        #expect(
            result.asked == [
                "DescribeTable", "CreateTable", "DescribeTable", "DescribeTable", "DescribeTable", "DescribeTable",
                "DescribeTimeToLive", "UpdateTimeToLive",
            ])
        #expect(
            try result.script.body(1) == """
                {"AttributeDefinitions":[{"AttributeName":"pk","AttributeType":"S"},\
                {"AttributeName":"sk","AttributeType":"S"},{"AttributeName":"node_epoch","AttributeType":"S"}],\
                "BillingMode":"PAY_PER_REQUEST","GlobalSecondaryIndexes":[{"IndexName":"by_node",\
                "KeySchema":[{"AttributeName":"node_epoch","KeyType":"HASH"}],"Projection":{"ProjectionType":"ALL"}}],\
                "KeySchema":[{"AttributeName":"pk","KeyType":"HASH"},{"AttributeName":"sk","KeyType":"RANGE"}],\
                "TableName":"box"}
                """)
        #expect(
            try result.script.body(7) == """
                {"TableName":"box","TimeToLiveSpecification":{"AttributeName":"ttl","Enabled":true}}
                """)
    }

    @Test func aTableThatIsAsItShouldBeIsLeftAlone() async throws {
        for status in ["ENABLED", "ENABLING"] {
            let result = try await prepare([Self.described(), Self.described(), Self.expiry(status)])
            #expect(result.done == Self.found && result.sleeps == 0)
            #expect(result.asked == ["DescribeTable", "DescribeTable", "DescribeTimeToLive"])
        }
    }

    @Test func anotherThatMakesItAtTheSameTimeIsNoError() async throws {
        let result = try await prepare([
            Self.missing, ScriptedTransport.error(400, "ResourceInUseException"), Self.described("CREATING"),
            Self.described(), Self.expiry("ENABLED"),
        ])
        #expect(result.done == Self.found && result.sleeps == 1)
    }

    @Test func anIndexIsAddedToATableThatIsThere() async throws {
        let other = #"{"IndexName":"mine","IndexStatus":"ACTIVE"}"#
        for before in [nil, other] {
            let building = (before.map { $0 + "," } ?? "") + #"{"IndexName":"by_node","IndexStatus":"CREATING"}"#
            let result = try await prepare([
                Self.described(index: before), Self.described(index: before), Self.ok, Self.described("UPDATING"),
                Self.described(index: building), Self.described(), Self.expiry("ENABLED"),
            ])
            #expect(result.done == [.found("table box"), .made("index by_node"), .found("expiry by ttl")])
            #expect(result.sleeps == 2 && result.asked[2] == "UpdateTable")
            #expect(
                try result.script.body(2) == """
                    {"AttributeDefinitions":[{"AttributeName":"node_epoch","AttributeType":"S"}],\
                    "GlobalSecondaryIndexUpdates":[{"Create":{"IndexName":"by_node",\
                    "KeySchema":[{"AttributeName":"node_epoch","KeyType":"HASH"}],\
                    "Projection":{"ProjectionType":"ALL"}}}],"TableName":"box"}
                    """)
        }
    }

    @Test(arguments: [
        [("id", "HASH")], [("pk", "HASH")], [("pk", "RANGE"), ("sk", "HASH")], [("pk", "HASH"), ("date", "RANGE")],
    ])
    func aTableWithOtherKeysIsRefusedAndLeftAlone(keys: [(String, String)]) async throws {
        let script = DynamoDBScript([Self.described(keys: keys), Self.described(keys: keys)])
        let error = await awsError { _ = try await script.table.prepare(Self.layout) { _ in } }
        let message = try #require(error?.message)
        #expect(message.contains("the table 'box' has the keys \(keys[0].0) (\(keys[0].1))"))
        #expect(message.hasSuffix("it must have pk (HASH), sk (RANGE): choose another name"))
        #expect(error?.code == DynamoDB.unsuitableTableCode)
        #expect(script.operations.allSatisfy { $0.hasSuffix("DescribeTable") })
    }

    /// Found is only what a node can use: everything else is said, with what would be right.
    @Test func aTableThatCannotServeIsRefusedAndLeftAlone() async throws {
        let epoch = [("node_epoch", "HASH")]
        let cases: [(ScriptedTransport.Answer, String)] = [
            (
                Self.described(types: ["pk": "N"]),
                "in the table 'box' the key pk is of type N; it must be of type S (string): choose another name"
            ),
            (
                Self.described(types: ["sk": "B", "node_epoch": "N"]),
                "in the table 'box' the key sk is of type B; it must be of type S (string): choose another name; "
                    + "in the table 'box' the key node_epoch is of type N; it must be of type S (string): "
                    + "choose another name"
            ),
            (
                Self.described(index: Self.described(index: "KEYS_ONLY", epoch)),
                "the index by_node of the table 'box' holds KEYS_ONLY of each item; it must hold ALL: delete that index "
                    + "and run this again"
            ),
            (
                Self.described(index: Self.described(index: "ALL", [("node", "HASH")])),
                "the index by_node of the table 'box' has the keys node (HASH); it must have node_epoch (HASH) alone: "
                    + "delete that index and run this again"
            ),
            (
                Self.described(index: Self.described(index: "ALL", epoch + [("sk", "RANGE")])),
                "the index by_node of the table 'box' has the keys node_epoch (HASH), sk (RANGE); it must have "
                    + "node_epoch (HASH) alone: delete that index and run this again"
            ),
        ]
        for (answer, message) in cases {
            let script = DynamoDBScript([answer, answer])
            let error = await awsError { _ = try await script.table.prepare(Self.layout) { _ in } }
            #expect(error?.message == message && error?.code == DynamoDB.unsuitableTableCode)
            #expect(script.operations.allSatisfy { $0.hasSuffix("DescribeTable") })
        }
    }

    @Test func aTableThatExpiresByAnotherAttributeIsRefused() async throws {
        let script = DynamoDBScript([Self.described(), Self.described(), Self.expiry("ENABLED", "until")])
        let error = await awsError { _ = try await script.table.prepare(Self.layout) { _ in } }
        #expect(error?.message == "items of the table 'box' expire by 'until', not by 'ttl': choose another table")
    }

    @Test func expiryThatIsOffIsSwitchedOn() async throws {
        for state in [Self.noExpiry, "{}", #"{"TimeToLiveDescription":{}}"#] {
            let result = try await prepare([
                Self.described(), Self.described(), ScriptedTransport.answer(200, state), Self.ok,
            ])
            #expect(result.done.last == .made("expiry by ttl"))
        }
    }

    @Test func aTableThatIsNeverReadyIsToldInTheEnd() async throws {
        let looks = DynamoDB.preparationLooks
        let script = DynamoDBScript(Array(repeating: Self.described("CREATING"), count: looks + 1))
        let error = await awsError { _ = try await script.table.prepare(Self.layout) { _ in } }
        #expect(error?.code == DynamoDB.unfinishedTableCode)
        #expect(error?.message == "the table 'box' is still being made" && script.transport.unused == 0)
    }

    @Test func refusalsAndUnreadableAnswersAreTold() async throws {
        let denied = ScriptedTransport.error(400, "AccessDeniedException")
        for (before, code) in [
            ([denied], "AccessDeniedException"), ([Self.missing, denied], "AccessDeniedException"),
            ([ScriptedTransport.answer(200, "{")], "UnreadableResponse"),
            ([ScriptedTransport.answer(200, #"{"Table":{}}"#)], "UnreadableResponse"),
            ([Self.described(), Self.described(), ScriptedTransport.answer(200, "[]")], "UnreadableResponse"),
            ([Self.described(), Self.described(), denied], "AccessDeniedException"),
        ] {
            let script = DynamoDBScript(before)
            let error = await awsError { _ = try await script.table.prepare(Self.layout) { _ in } }
            #expect(error?.code == code && script.transport.unused == 0)
        }
    }
}
