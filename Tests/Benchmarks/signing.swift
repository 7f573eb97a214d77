import AWS
import FoundationEssentials
import Glibc
import HTTPClient

// Signs one call of DynamoDB over and over, as a node does, and prints the CPU time of one in microseconds.
// Argument: how often.

let count = Int(CommandLine.arguments[1]) ?? 0
let credentials = AWSCredentials(
    accessKeyID: "AKIAIOSFODNN7EXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    sessionToken: String(repeating: "t", count: 800))
let request = TransferRequest(
    method: "POST", origin: "https://dynamodb.eu-west-1.amazonaws.com",
    headers: [
        TransferHeader("Content-Type", "application/x-amz-json-1.0"),
        TransferHeader("X-Amz-Target", "DynamoDB_20120810.TransactWriteItems"),
    ],
    body: Array(String(repeating: "x", count: 1_500).utf8))
let keys = SigningKeys()
var bytes = 0
let start = clock()
for index in 0..<count {
    let signer = SigV4(
        credentials: credentials, region: "eu-west-1", service: "dynamodb",
        date: Date(timeIntervalSince1970: 1_440_938_160 + Double(index / 1_000)), keys: keys)
    bytes += signer.sign(request).headers.count
}
let used = Double(clock() - start) / Double(CLOCKS_PER_SEC)
precondition(bytes == count * 5)
print(used / Double(max(1, count)) * 1e6)
