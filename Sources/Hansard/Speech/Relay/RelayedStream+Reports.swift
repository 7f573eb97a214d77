extension RelayedStream {
    /// What the newest stream is billed.
    private var billed: AudioTime { max(time(clock.sent), policy.minimumBilled) }

    /// Tells how much the service is billed for, now and then.
    mutating func meter(_ actions: inout [Action]) {
        let total = billedBefore + billed
        guard total - metered >= Self.meteringStep || metered == .zero else { return }
        metered = total
        actions.append(.deliver(.metered(total)))
    }

    /// The stream is over: what it was sent counts for good.
    mutating func meterStream(_ actions: inout [Action]) {
        guard isListening else { return }
        billedBefore = billedBefore + billed
        clock = RelayClock(sampleRate: audio.sampleRate, start: buffer.position)
        guard billedBefore > metered else { return }
        metered = billedBefore
        actions.append(.deliver(.metered(metered)))
    }

    /// Tells the session that there is room again, and how far has been listened where nothing was said.
    mutating func report(_ actions: inout [Action]) {
        if isHeldBack, buffer.hasRoomAgain {
            isHeldBack = false
            actions.append(.deliver(.capacity))
        }
        let heard = buffer.position - frames(Self.hearingDelay)
        guard heard - heardThrough >= frames(Self.progressStep), !isCatchingUp else { return }
        heardThrough = heard
        for index in channels.indices where !channels[index].isOpen && unanswered.frames == 0 {
            actions.append(.deliver(.progress(channel: index, through: time(heard))))
        }
    }
}
