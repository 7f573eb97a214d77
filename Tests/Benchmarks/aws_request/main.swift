import AWS
import EventLoops
import FoundationEssentials
import Glibc
import HTTPClient

// What a node does about one call of DynamoDB, over and over, all but the transfer; prints the CPU time of one in
// microseconds.
//
//     aws_request sign|claim|refusal COUNT     signs a body of 1,500 bytes; claims a slot; claims one that is refused
//     aws_request audio|event COUNT            frames 100 ms of audio; reads a result of 20 words, as Transcribe has them
//     aws_request body                         prints what a claim sends
//     aws_request message                      prints that result's message, in hexadecimal
//     aws_request answer                       prints the answer of a refusal

let origin = "https://dynamodb.eu-west-1.amazonaws.com"
let credentials = AWSCredentials(
    accessKeyID: "AKIAIOSFODNN7EXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    sessionToken: String(repeating: "t", count: 800))

/// Answers at once.
struct CannedTransport: HTTPTransport {
    var response: TransferResponse
    var isTold = false

    func send(_ request: TransferRequest) async throws -> TransferResponse {
        if isTold { print(String(decoding: request.body, as: UTF8.self)) }
        return response
    }
}

/// What a limit that is reached is answered with: the counter's condition does not hold.
let refusal = """
    {"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException","CancellationReasons":[{"Code":"None"},\
    {"Code":"ConditionalCheckFailed","Item":{"changes":{"N":"8214"},"lim":{"N":"50"},"n":{"N":"50"},\
    "pk":{"S":"T#6f1c7f6e-1f0a-4c53-9d0c-2f3f4b5a6c7d"},"sk":{"S":"CONC"},"version":{"N":"3"}},\
    "Message":"The conditional request failed"}],"Message":"Transaction cancelled, please refer cancellation reasons \
    for specific reasons [None, ConditionalCheckFailed]"}
    """

/// As the store claims one slot.
let writes = [
    DynamoDBWrite(
        .put([
            "pk": "T#6f1c7f6e-1f0a-4c53-9d0c-2f3f4b5a6c7d", "sk": "L#0192f0a4-7b1c-7d3e-8f42-5a6b7c8d9e0f",
            "node_epoch": "node-1#3b0c0b7e-5a8e-4b39-a2b5-0d4c1f3e2a1b",
            "nonce": "9d2f7c1e-04f3-4f6f-8a7b-6c5d4e3f2a1b", "connection_id": "c1a5b2d3-77e8-4f90-8123-456789abcdef",
            "address": "10.0.3.17:8080", "region": "eu-west-1", "key_id": "key_4kTq0Zr8sYw2uVx6nBp1aC",
            "claimed_at": "2026-01-31T12:34:56.789Z", "used_ms": 0,
        ]),
        if: DynamoDBExpression("attribute_not_exists(pk)")),
    DynamoDBWrite(
        .update(
            key: ["pk": "T#6f1c7f6e-1f0a-4c53-9d0c-2f3f4b5a6c7d", "sk": "CONC"],
            DynamoDBExpression("ADD n :k, changes :one", ["k": 1, "one": 1])),
        if: DynamoDBExpression("version >= :v AND n < lim", ["v": 3])),
]

func table(_ transport: CannedTransport) -> DynamoDB {
    DynamoDB(
        table: "hansard",
        caller: AWSService(
            signingName: "dynamodb", region: "eu-west-1", origin: origin,
            credentials: CredentialsProvider(sources: [FixedCredentials(credentials)]), transport: transport))
}

func sign(_ count: Int) {
    let request = TransferRequest(
        method: "POST", origin: origin,
        headers: [
            TransferHeader("Content-Type", "application/x-amz-json-1.0"),
            TransferHeader("X-Amz-Target", "DynamoDB_20120810.TransactWriteItems"),
        ],
        body: Array(String(repeating: "x", count: 1_500).utf8))
    let keys = SigningKeys()
    var headers = 0
    for index in 0..<count {
        let signer = SigV4(
            credentials: credentials, region: "eu-west-1", service: "dynamodb",
            date: Date(timeIntervalSince1970: 1_440_938_160 + Double(index / 1_000)), keys: keys)
        headers += signer.sign(request).headers.count
    }
    precondition(headers == count * 5)
}

func claim(_ count: Int) async throws {
    let table = table(CannedTransport(response: TransferResponse(status: 200, body: Array("{}".utf8))))
    for _ in 0..<count {
        let outcome = try await table.transact(writes)
        precondition(outcome == .done)
    }
}

func beRefused(_ count: Int) async throws {
    let table = table(CannedTransport(response: TransferResponse(status: 400, body: Array(refusal.utf8))))
    for _ in 0..<count {
        guard case .refused(let reasons) = try await table.transact(writes), reasons.first == DynamoDB.Refusal.none,
            case .condition(let counter?)? = reasons.last
        else { preconditionFailure("it must be refused for the counter's condition") }
        precondition(counter["n"]?.integer == 50)
    }
}

/// A partial result of 20 words, as Amazon Transcribe sends it.
let message: [UInt8] = {
    let items = (0..<20).map { index in
        """
        {"Content":"word\(index)","EndTime":\(index).5,"StartTime":\(index).1,"Type":"pronunciation",\
        "VocabularyFilterMatch":false}
        """
    }
    let words = (0..<20).map { "word\($0)" }.joined(separator: " ")
    let json = """
        {"Transcript":{"Results":[{"Alternatives":[{"Items":[\(items.joined(separator: ","))],"Transcript":"\(words)"}],\
        "EndTime":20.5,"IsPartial":true,"ResultId":"6f1c7f6e-1f0a-4c53-9d0c-2f3f4b5a6c7d","StartTime":0.1}]}}
        """
    let headers: [EventStreamMessage.Header] = [
        .init(":message-type", .string("event")), .init(":event-type", .string("TranscriptEvent")),
        .init(":content-type", .string("application/json")),
    ]
    guard let bytes = try? EventStreamMessage(headers: headers, payload: Array(json.utf8)).encoded() else {
        preconditionFailure("it is a message")
    }
    return bytes
}()

func frame(_ count: Int) {
    let audio = [UInt8](repeating: 7, count: 3_200)
    var buffer: [UInt8] = []
    buffer.reserveCapacity(4_096)
    var bytes = 0
    for _ in 0..<count {
        buffer.removeAll(keepingCapacity: true)
        audio.withUnsafeBytes { TranscribeAudio.append($0, to: &buffer) }
        bytes += buffer.count
    }
    precondition(bytes == count * (3_200 + TranscribeAudio.overheadBytes))
}

func read(_ count: Int) throws {
    var words = 0
    for _ in 0..<count {
        guard case .transcript(let results) = try TranscribeEvent(decoding: message) else {
            preconditionFailure("it is a result")
        }
        words += results[0].alternatives[0].items.count
    }
    precondition(words == count * 20)
}

let count = CommandLine.arguments.count > 2 ? Int(CommandLine.arguments[2]) ?? 0 : 0
let start = clock()
switch CommandLine.arguments[1] {
case "sign": sign(count)
case "claim": try runOnOwnThread { try await claim(count) }
case "refusal": try runOnOwnThread { try await beRefused(count) }
case "audio": frame(count)
case "event": try read(count)
case "message": print(message.map { String($0 / 16, radix: 16) + String($0 % 16, radix: 16) }.joined())
case "body":
    try runOnOwnThread {
        let done = TransferResponse(status: 200, body: Array("{}".utf8))
        _ = try await table(CannedTransport(response: done, isTold: true)).transact(writes)
    }
case "answer": print(refusal)
default: preconditionFailure("what is to be done?")
}
if count > 0 { print(Double(clock() - start) / Double(CLOCKS_PER_SEC) / Double(count) * 1e6) }
