package enforcer

import "testing"

func TestAsksAreForWhatWaitsAndForWhatIsLow(t *testing.T) {
	base := numbers{shares: 5, left: 10_000, free: 5_000, avg: 1, threshold: 78}
	for _, c := range []struct {
		name                   string
		set                    func(*numbers)
		needMin, needSum, want int64
		ok                     bool
	}{
		{"nothing is wanted without demand", func(n *numbers) { n.avail = 0 }, 0, 0, 0, false},
		{"target is four seconds of demand", func(n *numbers) { n.rate, n.avail = 50, 80 }, 0, 0, 120, true},
		{"target is at most half an even share", func(n *numbers) { n.rate, n.avail = 10_000, 0 }, 0, 0, 1_000, true},
		{"nine tenths of the target is enough on a tick", func(n *numbers) { n.rate, n.avail = 50, 180 }, 0, 0, 0, false},
		{"half of the target is enough in between", func(n *numbers) { n.rate, n.avail, n.urgent = 50, 100, true }, 0, 0, 0, false},
		{"under half is not", func(n *numbers) { n.rate, n.avail, n.urgent = 50, 99, true }, 0, 0, 101, true},
		{"who waits is asked for less what is there", func(n *numbers) {
			n.avail, n.waiting, n.waitMin, n.waitSum = 3, 2, 5, 13
		}, 2, 10, 0, true},
		{"who waits is asked for on top of the excess", func(n *numbers) {
			n.avail, n.waiting, n.waitMin, n.waitSum = -4, 1, 5, 5
		}, 9, 9, 4, true},
		{"one ask at a time", func(n *numbers) { n.waiting, n.waitMin, n.waitSum, n.inFlight = 1, 5, 5, true }, 0, 0, 0, false},
		{"the holder is drawn on, not asked for", func(n *numbers) { n.waiting, n.waitMin, n.waitSum, n.other = 1, 5, 5, true }, 0, 0, 0, false},
		{"an empty pool is asked, so that the shortage is known", func(n *numbers) {
			n.free, n.waiting, n.waitMin, n.waitSum = 0, 1, 5, 5
		}, 5, 5, 0, true},
		{"the holder does not ask an empty pool", func(n *numbers) {
			n.free, n.holder, n.waiting, n.waitMin, n.waitSum = 0, true, 1, 5, 5
		}, 0, 0, 0, false},
		{"the holder does not ask a pool that is too small", func(n *numbers) {
			n.free, n.holder, n.avail, n.waiting, n.waitMin, n.waitSum = 4, true, 3, 1, 8, 8
		}, 0, 0, 0, false},
		{"the holder asks a pool that suffices", func(n *numbers) {
			n.free, n.holder, n.avail, n.waiting, n.waitMin, n.waitSum = 5, true, 3, 1, 8, 8
		}, 5, 5, 0, true},
		{"nothing is wanted of a period that is over", func(n *numbers) { n.rate, n.ended = 50, true }, 0, 0, 0, false},
		{"nothing is wanted of an empty pool", func(n *numbers) { n.rate, n.free = 50, 0 }, 0, 0, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := base
			c.set(&n)
			needMin, needSum, want, ok := n.ask()
			if ok != c.ok || ok && (needMin != c.needMin || needSum != c.needSum || want != c.want) {
				t.Errorf("ask of %+v\n = %d, %d, %d, %v, want %d, %d, %d, %v", n, needMin, needSum, want, ok, c.needMin, c.needSum, c.want, c.ok)
			}
		})
	}
}

func TestReleasesGiveBackWhatIsNotNeededHere(t *testing.T) {
	base := numbers{shares: 5, left: 1_000, free: 100, avg: 1, threshold: 10}
	for _, c := range []struct {
		name   string
		set    func(*numbers)
		amount int64
		final  bool
		ok     bool
	}{
		{"two half-shares and some lines are kept", func(n *numbers) { n.avail = 208 }, 0, false, false},
		{"more is trimmed to one half-share", func(n *numbers) { n.avail = 209 }, 109, false, true},
		{"nothing is trimmed while checks wait", func(n *numbers) { n.avail, n.waiting = 300, 1 }, 0, false, false},
		{"nothing is trimmed that a check needs which waits for another budget", func(n *numbers) { n.avail, n.needed = 300, 92 }, 0, false, false},
		{"what is over that is", func(n *numbers) { n.avail, n.needed = 300, 90 }, 110, false, true},
		{"the holder keeps what it has", func(n *numbers) { n.avail, n.holder = 900, true }, 0, false, false},
		{"all goes back when another holds the rest", func(n *numbers) { n.avail, n.lease, n.other = 7, 9, true }, 7, true, true},
		{"finally even if all of it is held", func(n *numbers) { n.lease, n.other = 9, true }, 0, true, true},
		{"the final word waits for what went ahead", func(n *numbers) { n.avail, n.lease, n.other, n.releasing = 7, 9, true, 2 }, 0, false, false},
		{"what frees up after it waits for nothing", func(n *numbers) {
			n.avail, n.lease, n.other, n.acked, n.releasing = 7, 9, true, true, 2
		}, 7, false, true},
		{"nothing is said twice", func(n *numbers) { n.lease, n.other, n.acked = 9, true, true }, 0, false, false},
		{"nothing is said by who has nothing", func(n *numbers) { n.other = true }, 0, false, false},
		{"what frees up later goes back", func(n *numbers) { n.avail, n.lease, n.other, n.acked = 2, 9, true, true }, 2, false, true},
		{"excess goes back though it cannot be spent", func(n *numbers) {
			n.avail, n.excess, n.lease, n.other, n.acked = -1, 4, 3, true, true
		}, 3, false, true},
		{"a period that is over is left alone", func(n *numbers) { n.avail, n.ended = 900, true }, 0, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := base
			c.set(&n)
			amount, final, ok := n.release()
			if ok != c.ok || ok && (amount != c.amount || final != c.final) {
				t.Errorf("release of %+v\n = %d, %v, %v, want %d, %v, %v", n, amount, final, ok, c.amount, c.final, c.ok)
			}
		})
	}
}

func TestTheHolderLeavesOnlyWhenRoomHasReturned(t *testing.T) {
	base := numbers{shares: 5, left: 1_000, threshold: 100, avail: 500, rate: 10, holder: true, allAck: true, heldLong: true}
	for _, c := range []struct {
		name   string
		set    func(*numbers)
		amount int64
		ok     bool
	}{
		{"with twice the threshold", func(*numbers) {}, 420, true},
		{"and keeps what waits for another budget too", func(n *numbers) { n.needed = 400 }, 20, true},
		{"all of it", func(n *numbers) { n.needed = 450 }, 0, true},
		{"not with less", func(n *numbers) { n.left = 199 }, 0, false},
		{"not with less in hand", func(n *numbers) { n.avail = 199 }, 0, false},
		{"not before all have given up", func(n *numbers) { n.allAck = false }, 0, false},
		{"not at once", func(n *numbers) { n.heldLong = false }, 0, false},
		{"not while checks wait", func(n *numbers) { n.waiting = 1 }, 0, false},
		{"not if it is not the holder", func(n *numbers) { n.holder = false }, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := base
			c.set(&n)
			if amount, ok := n.exit(); ok != c.ok || amount != c.amount {
				t.Errorf("exit of %+v\n = %d, %v, want %d, %v", n, amount, ok, c.amount, c.ok)
			}
		})
	}
}

func TestRateFollowsDemandAndDiesDown(t *testing.T) {
	rate := int64(0)
	for range 50 {
		rate = smooth(rate, 10)
	}
	if rate < 90 || rate > 100 {
		t.Errorf("rate %d after 10 a tick, want nearly 100 a second", rate)
	}
	for range 50 {
		rate = smooth(rate, 0)
	}
	if rate != 0 {
		t.Errorf("rate %d after five idle seconds, want 0", rate)
	}
	if r := smooth(1<<62, 1<<62); r <= 0 {
		t.Errorf("rate of absurd demand is %d", r)
	}
}
