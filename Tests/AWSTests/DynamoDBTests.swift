import Foundation
import HTTPClient
import Testing

@testable import AWS

/// A table whose answers the test wrote.
struct DynamoDBScript {
    let transport: ScriptedTransport
    let table: DynamoDB

    init(_ answers: [ScriptedTransport.Answer]) {
        transport = ScriptedTransport(answers)
        var effects = AWSService.Effects()
        effects.sleep = { _ in }
        table = DynamoDB(
            table: "box",
            caller: AWSService(
                signingName: "dynamodb", region: "eu-west-1", origin: "https://dynamodb.eu-west-1.amazonaws.com",
                credentials: CredentialsProvider(sources: [ScriptedSource([.success(.number(1))])], clock: AWSClock()),
                transport: transport, retries: RetryPolicy(service: "dynamodb", maximumAttempts: 1), effects: effects))
    }

    init(_ bodies: String...) { self.init(bodies.map { ScriptedTransport.answer(200, $0) }) }

    var operations: [String] { transport.sent.map { $0.header("X-Amz-Target") ?? "" } }

    /// What was sent, as JSON with sorted keys.
    func body(_ number: Int = 0) throws -> String {
        let object = try JSONSerialization.jsonObject(with: Data(transport.sent[number].body))
        let data = try JSONSerialization.data(withJSONObject: object, options: [.sortedKeys, .withoutEscapingSlashes])
        return String(decoding: data, as: UTF8.self)
    }
}

/// What goes over the wire, and what is made of the answers.
@Suite struct DynamoDBTests {
    private static let key: DynamoDBItem = ["pk": "T#1", "sk": "CONC"]

    private func answer(_ code: String, _ more: String = "", status: Int = 400) -> ScriptedTransport.Answer {
        ScriptedTransport.answer(
            status, #"{"__type":"com.amazonaws.dynamodb.v20120810#\#(code)","message":"m"\#(more)}"#)
    }

    // MARK: Requests

    @Test func aPutIsSentLikeThis() async throws {
        let script = DynamoDBScript("{}")
        let item: DynamoDBItem = ["pk": "a\"b/é", "n": 7, "on": true]
        let write = DynamoDBWrite(.put(item), if: DynamoDBExpression("attribute_not_exists(pk)"))
        #expect(try await script.table.write(write) == .done)
        #expect(
            try script.body() == """
                {"ConditionExpression":"attribute_not_exists(pk)","Item":{"n":{"N":"7"},"on":{"BOOL":true},\
                "pk":{"S":"a\\"b/é"}},"ReturnValuesOnConditionCheckFailure":"ALL_OLD","TableName":"box"}
                """)
        #expect(script.operations == ["DynamoDB_20120810.PutItem"])
        let request = script.transport.sent[0]
        #expect(request.header("Content-Type") == "application/x-amz-json-1.0")
        #expect(request.method == "POST" && request.path == "/" && request.timeout == DynamoDB.attemptTimeout)
        #expect(request.header("Authorization")?.contains("/eu-west-1/dynamodb/aws4_request") == true)
    }

    @Test func anUpdateIsSentLikeThis() async throws {
        let script = DynamoDBScript("{}", "{}")
        let update = DynamoDBExpression("SET #state = :s, x = :x", ["s": "done", "x": 1])
        let condition = DynamoDBExpression("#state = :old AND #region = :x", ["old": "new"])
        let write = DynamoDBWrite(.update(key: Self.key, update), if: condition)
        #expect(try await script.table.write(write) == .done)
        #expect(
            try script.body() == """
                {"ConditionExpression":"#state = :old AND #region = :x",\
                "ExpressionAttributeNames":{"#region":"region","#state":"state"},\
                "ExpressionAttributeValues":{":old":{"S":"new"},":s":{"S":"done"},":x":{"N":"1"}},\
                "Key":{"pk":{"S":"T#1"},"sk":{"S":"CONC"}},"ReturnValuesOnConditionCheckFailure":"ALL_OLD",\
                "TableName":"box","UpdateExpression":"SET #state = :s, x = :x"}
                """)
        // Empty names and values are refused by DynamoDB, so there are none.
        _ = try await script.table.write(DynamoDBWrite(.update(key: Self.key, DynamoDBExpression("REMOVE x"))))
        #expect(
            try script.body(1) == """
                {"Key":{"pk":{"S":"T#1"},"sk":{"S":"CONC"}},"TableName":"box","UpdateExpression":"REMOVE x"}
                """)
        #expect(script.operations == Array(repeating: "DynamoDB_20120810.UpdateItem", count: 2))
    }

    @Test func aTransactionIsSentLikeThis() async throws {
        let script = DynamoDBScript("{}")
        let writes = [
            DynamoDBWrite(.put(["pk": "a"]), if: DynamoDBExpression("attribute_not_exists(pk)")),
            DynamoDBWrite(.update(key: Self.key, DynamoDBExpression("ADD n :one", ["one": 1]))),
            DynamoDBWrite(.delete(key: Self.key), if: DynamoDBExpression("n = :n", ["n": -2])),
        ]
        #expect(try await script.table.transact(writes) == .done)
        #expect(script.operations == ["DynamoDB_20120810.TransactWriteItems"])
        #expect(
            try script.body() == """
                {"TransactItems":[\
                {"Put":{"ConditionExpression":"attribute_not_exists(pk)","Item":{"pk":{"S":"a"}},\
                "ReturnValuesOnConditionCheckFailure":"ALL_OLD","TableName":"box"}},\
                {"Update":{"ExpressionAttributeValues":{":one":{"N":"1"}},"Key":{"pk":{"S":"T#1"},"sk":{"S":"CONC"}},\
                "TableName":"box","UpdateExpression":"ADD n :one"}},\
                {"Delete":{"ConditionExpression":"n = :n","ExpressionAttributeValues":{":n":{"N":"-2"}},\
                "Key":{"pk":{"S":"T#1"},"sk":{"S":"CONC"}},"ReturnValuesOnConditionCheckFailure":"ALL_OLD",\
                "TableName":"box"}}]}
                """)
    }

    @Test func readsAreSentLikeThis() async throws {
        let page = #"{"Items":[{"pk":{"S":"x"}},{"pk":{"S":"y"}}],"LastEvaluatedKey":{"pk":{"S":"y"}}}"#
        let script = DynamoDBScript(#"{"Item":{"pk":{"S":"x"}}}"#, page, #"{"Items":[]}"#, #"{"Items":[]}"#)
        #expect(try await script.table.get(Self.key) == ["pk": "x"])
        #expect(
            try script.body() == """
                {"ConsistentRead":true,"Key":{"pk":{"S":"T#1"},"sk":{"S":"CONC"}},"TableName":"box"}
                """)
        let keys = DynamoDBExpression("pk = :pk", ["pk": "T#1"])
        let filter = DynamoDBExpression("attribute_exists(#nonce)")
        #expect(try await script.table.query(DynamoDB.Query(keys, filter: filter, limit: 9)).count == 2)
        let first = """
            "ExpressionAttributeNames":{"#nonce":"nonce"},"ExpressionAttributeValues":{":pk":{"S":"T#1"}},\
            "FilterExpression":"attribute_exists(#nonce)","KeyConditionExpression":"pk = :pk","TableName":"box"}
            """
        #expect(try script.body(1) == #"{"ConsistentRead":true,"# + first)
        #expect(try script.body(2) == #"{"ConsistentRead":true,"ExclusiveStartKey":{"pk":{"S":"y"}},"# + first)
        // An index cannot be read as it is now.
        _ = try await script.table.query(DynamoDB.Query(keys, index: "by_node", limit: 9))
        #expect(
            try script.body(3) == """
                {"ExpressionAttributeValues":{":pk":{"S":"T#1"}},"IndexName":"by_node",\
                "KeyConditionExpression":"pk = :pk","TableName":"box"}
                """)
    }

    /// One attribute that somebody else has written must not hide the item, nor the others of its page.
    @Test(arguments: [#"{"NULL":true}"#, #"{"L":[{"S":"a"}]}"#, #"{"M":{}}"#, #"{"SS":["a"]}"#, #"{"B":"AA=="}"#, "{}"])
    func typesThatAreNotUsedAreRead(_ attribute: String) throws {
        let text = #"{"pk":{"S":"a"},"n":\#(attribute)}"#
        let item = try JSONDecoder().decode(DynamoDBItem.self, from: Data(text.utf8))
        #expect(item == ["pk": "a", "n": .other])
        #expect(item["n"]?.string == nil && item["n"]?.integer == nil && item["n"]?.bool == nil)
    }

    @Test func namesEndWhereTheyEnd() {
        #expect(DynamoDBExpression.names(in: []) == [:])
        #expect(DynamoDBExpression.names(in: ["a = :a"]) == [:])
        let names = DynamoDBExpression.names(in: ["SET #a_1=:x,#b = #a_1", "size(#c)<:y AND #b=:z"])
        #expect(names == ["#a_1": "a_1", "#b": "b", "#c": "c"])
    }

    // MARK: Answers

    @Test func pagesAreReadUntilThereAreEnough() async throws {
        let page = #"{"Items":[{"n":{"N":"1"}},{"n":{"N":"2"}},{"n":{"N":"3"}}],"LastEvaluatedKey":{"pk":{"S":"k"}}}"#
        // A page may hold nothing that the filter lets through, and still not be the last.
        let empty = #"{"Items":[],"LastEvaluatedKey":{"pk":{"S":"e"}}}"#
        let query = { DynamoDB.Query(DynamoDBExpression("pk = :pk", ["pk": "T"]), limit: $0) }
        for (limit, pages, found) in [(3, 1, 3), (2, 1, 2), (4, 3, 4), (6, 3, 6), (7, 4, 6)] {
            let script = DynamoDBScript(page, empty, page, #"{"Items":[]}"#)
            #expect(try await script.table.query(query(limit)).count == found, "limit \(limit)")
            #expect(script.transport.sent.count == pages, "limit \(limit)")
        }
        let broken = DynamoDBScript([ScriptedTransport.answer(200, page), answer("InternalServerError", status: 500)])
        await #expect(throws: AWSError.self) { try await broken.table.query(query(9)) }
    }

    @Test func conditionsThatDoNotHoldAreNoErrors() async throws {
        let write = DynamoDBWrite(.delete(key: Self.key), if: DynamoDBExpression("attribute_exists(pk)"))
        let cases: [(String, DynamoDBItem?)] = [
            ("", nil), (#","Item":null"#, nil), (#","Item":{}"#, [:]),
            (#","Item":{"n":{"N":"4"},"b":{"BOOL":false}}"#, ["n": 4, "b": false]),
        ]
        for (more, item) in cases {
            let script = DynamoDBScript([answer("ConditionalCheckFailedException", more)])
            #expect(try await script.table.write(write) == .refused(item), "\(more)")
        }
        let other = DynamoDBScript([answer("ValidationException")])
        let error = await awsError { _ = try await other.table.write(write) }
        #expect(error?.code == "ValidationException" && error?.isOutcomeUnknown == false)
    }

    @Test func reasonsAreReadInOrder() async throws {
        let writes = Array(repeating: DynamoDBWrite(.put(["pk": "a"])), count: 7)
        let reasons = """
            {"Code":"None"},{"Code":"ConditionalCheckFailed","Message":"m"},\
            {"Code":"ConditionalCheckFailed","Item":{"n":{"N":"9"}}},{"Code":"TransactionConflict","Message":"m"},\
            {"Code":"ThrottlingError"},{},{"Code":"ItemCollectionSizeLimitExceeded"}
            """
        let script = DynamoDBScript([
            answer("TransactionCanceledException", #","CancellationReasons":[\#(reasons)]"#)
        ])
        #expect(
            try await script.table.transact(writes)
                == .refused([
                    .none, .condition(nil), .condition(["n": 9]), .busy, .busy, .none,
                    .other("ItemCollectionSizeLimitExceeded"),
                ]))
    }

    @Test func reasonsThatAreNotOnePerWriteAreAnError() async throws {
        let writes = Array(repeating: DynamoDBWrite(.put(["pk": "a"])), count: 2)
        for more in [
            "", #","CancellationReasons":[]"#, #","CancellationReasons":[{"Code":"None"}]"#,
            #","CancellationReasons":[{"Code":"None"},{"Code":7}]"#, #","CancellationReasons":"none""#,
        ] {
            let script = DynamoDBScript([answer("TransactionCanceledException", more)])
            let error = await awsError { _ = try await script.table.transact(writes) }
            #expect(error?.code == "TransactionCanceledException", "\(more)")
        }
    }

    @Test func transactionsInTheWayAreBusy() async throws {
        let writes = Array(repeating: DynamoDBWrite(.put(["pk": "a"])), count: 3)
        for code in ["TransactionConflictException", "TransactionInProgressException"] {
            let script = DynamoDBScript([answer(code), answer(code)])
            #expect(try await script.table.transact(writes) == .refused([.busy, .busy, .busy]))
            let error = await awsError { _ = try await script.table.write(writes[0]) }
            #expect(DynamoDB.conflicts.contains(error?.code ?? ""))
        }
    }

    /// Whatever is answered, the caller gets an outcome or an `AWSError`.
    @Test func brokenAnswersAreErrorsWithoutHarm() async throws {
        let seeds = [
            #"{"Item":{"n":{"N":"7"},"s":{"S":"é\u00e4"},"b":{"BOOL":true}}}"#,
            #"{"Items":[{"pk":{"S":"x"}},{"pk":{"S":"y"}}],"Count":2}"#,
            #"{"__type":"a#TransactionCanceledException","CancellationReasons":[{"Code":"None"},{"Code":"x","Item":{}}]}"#,
            #"{"__type":"a#ConditionalCheckFailedException","Item":{"n":{"N":"4"}}}"#,
        ].map { Array($0.utf8) }
        var random = SeededGenerator(seed: 5)
        var bodies: [[UInt8]] = [[], Array("null".utf8), Array("[]".utf8), [0xff, 0xfe], Array("{}".utf8)]
        for seed in seeds { bodies += seed.indices.map { Array(seed.prefix($0)) } }
        bodies += (0..<800).map { random.mutated(seeds[$0 % seeds.count]) }
        bodies += (0..<100).map { _ in (0..<40).map { _ in UInt8.random(in: 0...255, using: &random) } }
        let write = DynamoDBWrite(.put(["pk": "a"]), if: DynamoDBExpression("attribute_not_exists(pk)"))
        let query = DynamoDB.Query(DynamoDBExpression("pk = :pk", ["pk": "T"]), limit: 1)
        var errors = 0
        for (number, body) in bodies.enumerated() {
            let status = number.isMultiple(of: 2) ? 200 : 400
            let answer: ScriptedTransport.Answer = { _ in TransferResponse(status: status, body: body) }
            let script = DynamoDBScript(Array(repeating: answer, count: 20))
            for operation: (DynamoDB) async throws -> Void in [
                { _ = try await $0.get(["pk": "a"]) }, { _ = try await $0.write(write) },
                { _ = try await $0.transact([write, write]) }, { _ = try await $0.query(query) },
            ] {
                do {
                    try await operation(script.table)
                } catch {
                    errors += 1
                    let error = error as? AWSError
                    if error == nil || status == 200 && error?.code != "UnreadableResponse" {
                        Issue.record("\(String(describing: error)) from \(String(decoding: body, as: UTF8.self))")
                    }
                }
            }
        }
        #expect(errors > bodies.count)
    }

    @Test func valuesAreReadAsTheyWereWritten() throws {
        let values: [AttributeValue] = [
            "", "é\u{0}\"", .number(Int64.min), .number(Int64.max), .number("1.5"), true, false,
        ]
        for value in values {
            let data = try JSONEncoder().encode(value)
            #expect(try JSONDecoder().decode(AttributeValue.self, from: data) == value)
        }
        #expect(AttributeValue.number("1.5").integer == nil && AttributeValue.number("-3").integer == -3)
        #expect(AttributeValue.number("99999999999999999999").integer == nil && (7 as AttributeValue).string == nil)
        #expect((true as AttributeValue).bool == true && ("true" as AttributeValue).bool == nil)
        for other in [#"{"N":7}"#, "7"] {
            #expect(throws: DecodingError.self) {
                try JSONDecoder().decode(AttributeValue.self, from: Data(other.utf8))
            }
        }
    }
}
