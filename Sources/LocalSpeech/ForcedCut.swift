/// Ends an utterance of someone who does not pause: at a dip in the energy after 12 s, at 15 s wherever it is.
///
/// The decoder's memory and the time of its final pass grow with the utterance, and a listener waits for the final.
struct ForcedCut {
    /// From here on a dip will do, in pieces of 10 ms.
    private static let soonest = 1_200
    /// Here it is cut in any case.
    private static let latest = 1_500
    /// A dip: this many pieces in a row.
    private static let dipLength = 6
    /// ... at most this share of the utterance's mean energy (-15 dB).
    private static let dipShare = 0.03

    private var pieces = 0
    private var energy = 0.0
    private var quietPieces = 0

    /// - Returns: whether to end the utterance after this piece.
    mutating func heard(_ piece: UnsafeBufferPointer<Int16>) -> Bool {
        var sum = 0
        for sample in piece { sum += Int(sample) * Int(sample) }
        pieces += 1
        energy += Double(sum)
        quietPieces = Double(sum) <= Self.dipShare * energy / Double(pieces) ? quietPieces + 1 : 0
        return pieces >= Self.latest || pieces >= Self.soonest && quietPieces >= Self.dipLength
    }
}
