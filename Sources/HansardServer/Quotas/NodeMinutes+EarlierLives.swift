import EventLoops
import Hansard
import Logging

extension NodeMinutes {
    /// Gives back what earlier lives of this node were granted and cannot have spent. Until then it stays charged. A store may
    /// show a grant only after a moment: an epoch has none when it was looked at twice.
    func settleEarlierLives() async {
        var looked: Set<NodeEpoch> = []
        while !Task.isCancelled {
            let (inherited, earlier) = state.withLock { ($0.inherited, $0.earlier) }
            guard !earlier.isEmpty else { return }
            do {
                for epoch in earlier {
                    let grants = try await store.grants(heldBy: epoch)
                    for grant in grants { try await settle(grant, inherited) }
                    guard grants.isEmpty, !looked.insert(epoch).inserted else { continue }
                    state.withLock { state in
                        state.earlier.remove(epoch)
                        state.inherited = state.inherited.filter { $0.key.holder != epoch }
                    }
                }
            } catch {
                logger.debug("minutes of an earlier life wait", metadata: ["error": "\(describe(error))"])
            }
            try? await Task.sleep(for: MinuteGrant.pollInterval)
        }
    }

    /// Retires this life's own grants of months that are over, so that nothing has to be remembered of them.
    func retireClosed() async {
        while !Task.isCancelled {
            for (mark, used) in state.withLock(\.closed) {
                let grant = Grant(
                    owner: mark.owner, period: mark.period, holder: mark.holder, milliseconds: used, sequence: 0)
                do {
                    _ = try await store.retire(grant, used: used)
                    state.withLock { $0.closed[mark] = nil }
                } catch {
                    logger.debug("a month's minutes wait", metadata: ["error": "\(describe(error))"])
                    break
                }
            }
            try? await Task.sleep(for: MinuteGrant.pollInterval)
        }
    }

    private func settle(_ grant: Grant, _ inherited: [SpendMarks.Mark: Int64]) async throws {
        // A grant without a mark came too late for any of it to be spent.
        let mark = inherited[SpendMarks.Mark(holder: grant.holder, owner: grant.owner, period: grant.period)] ?? 0
        guard try await store.retire(grant, used: min(mark, grant.milliseconds)) else { return }
        logger.notice(
            "minutes of an earlier life are given back",
            metadata: ["owner": "\(grant.owner)", "milliseconds": "\(max(0, grant.milliseconds - mark))"])
    }
}
