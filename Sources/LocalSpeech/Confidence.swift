/// The share of words that were right among those with about this posterior: 556 words of the sample recordings, clean
/// and with noise, with `PocketSphinxDecoder`'s settings. Raw posteriors are not probabilities of being right; the
/// small ones are far too low.
private let measuredShares: [(posterior: Double, right: Double)] = [
    (0, 0.30), (0.3, 0.50), (0.6, 0.60), (0.9, 0.65), (0.97, 0.80), (1, 0.92),
]

/// The confidence to report for a word's posterior: piecewise linear, rising, in 0.3...0.92.
func confidence(ofPosterior posterior: Double) -> Double {
    var lower = measuredShares[0]
    for upper in measuredShares.dropFirst() {
        if posterior <= upper.posterior {
            let share = max(0, posterior - lower.posterior) / (upper.posterior - lower.posterior)
            return lower.right + share * (upper.right - lower.right)
        }
        lower = upper
    }
    return lower.right
}
