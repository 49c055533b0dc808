package simulation

import (
	"context"
	"sync"
	"time"
)

// fault is one kind of thing that goes wrong.
type fault string

// The faults.
const (
	crashOne      fault = "crash"     // a process ends; it is started again some time later
	rebootOne     fault = "reboot"    // a machine goes down and loses what was not synced
	crashAll      fault = "crash all" // every process ends
	stopOne       fault = "stop"      // a node is stopped gracefully, and started again
	isolateOne    fault = "isolate"   // nothing reaches a node, or leaves it
	isolateLeader fault = "isolate leader"
	oneWay        fault = "one way" // of one node, nothing arrives, or nothing leaves
	split         fault = "split"   // the nodes fall into two groups
	longPartition fault = "long"    // a node is cut off for longer than the staleness bound
	stall         fault = "stall"   // a link is silent for a moment: lost packets
	reset         fault = "reset"   // connections break
	delays        fault = "delays"  // every direction of every link gets its own delay
	slowDisk      fault = "slow disk"
	hungDisk      fault = "hung disk"
	fullDisk      fault = "full disk"
	transfer      fault = "transfer" // leadership is handed over
	clockJump     fault = "clock"    // a machine's clock is set anew
)

var allFaults = []fault{
	crashOne, crashOne, crashOne, rebootOne, crashAll, stopOne, isolateOne, isolateOne, isolateLeader, oneWay, split,
	stall, stall, reset, delays, delays, slowDisk, hungDisk, fullDisk, transfer,
}

// startChaos lets things go wrong until the world is stopped.
func (w *World) startChaos() {
	d := newDice(w.seed, streamChaos)
	w.acts.Go(func() {
		var lasting sync.WaitGroup
		defer lasting.Wait()
		long := false
		for w.pause(d.wait(50*time.Millisecond, w.c.FaultEvery)) {
			f := pick(d, w.c.Faults...)
			if f == longPartition {
				if long {
					continue
				}
				long = true
			}
			w.harm(f, newDice(uint64(d.upTo(1<<60)), streamChaos), &lasting)
		}
	})
}

// pause waits and reports whether the chaos goes on.
func (w *World) pause(d time.Duration) bool {
	select {
	case <-w.stop:
		return false
	case <-time.After(d):
		return true
	}
}

// harm lets one thing go wrong. What takes time goes on in the background.
func (w *World) harm(f fault, d *dice, lasting *sync.WaitGroup) {
	h := pick(d, w.all()...)
	if l := w.leader(); l != nil && (f == isolateLeader || d.chance(30)) {
		h = l.h
	}
	if w.isRemoved(h.name) {
		return
	}
	lasts := d.wait(100*time.Millisecond, 2500*time.Millisecond)
	during := func(begin, end func()) {
		w.begins()
		begin()
		lasting.Go(func() {
			defer w.ends()
			w.pause(lasts)
			end()
		})
	}
	switch f {
	case crashOne, rebootOne:
		during(func() { h.crash(h.running(), f == rebootOne, "chaos") }, func() { w.restart(h) })
	case crashAll:
		all := w.all()
		during(func() {
			for _, o := range all {
				o.crash(o.running(), d.chance(30), "chaos: all")
			}
		}, func() {
			for _, o := range all {
				w.restart(o)
			}
		})
	case stopOne:
		during(func() {}, func() {
			if p := h.running(); p != nil && p.serve.Load() != nil {
				w.oracle.count(func(s *Stats) *int64 { return &s.Stops })
				h.stop(p, 5*time.Second)
			}
			w.pause(d.wait(0, time.Second))
			w.restart(h)
		})
	case isolateOne, isolateLeader, oneWay, split, longPartition:
		if f == longPartition {
			lasts = 12 * time.Second
		}
		w.oracle.count(func(s *Stats) *int64 { return &s.Partitions })
		cut := w.cut(f, h.name, d)
		during(func() { w.block(cut...) }, func() { w.unblock(cut...) })
	case stall:
		lasts = d.wait(10*time.Millisecond, 700*time.Millisecond)
		w.oracle.count(func(s *Stats) *int64 { return &s.Stalls })
		if o := pick(d, w.names()...); o != h.name {
			during(func() { w.block(way{h.name, o}) }, func() { w.unblock(way{h.name, o}) })
		}
	case reset:
		w.oracle.count(func(s *Stats) *int64 { return &s.Resets })
		if o := pick(d, w.names()...); o != h.name {
			lasts = 0
			during(func() { w.history.note("chaos", "reset %s %s", h.name, o); w.links.net.Reset(h.name, o) }, func() {})
		}
	case delays:
		most := pick(d, 4*time.Millisecond, 20*time.Millisecond, 80*time.Millisecond)
		w.oracle.count(func(s *Stats) *int64 { return &s.Delays })
		during(func() { w.delay(d, most) }, func() { w.delay(d, quietDelay) })
	case slowDisk, hungDisk, fullDisk:
		w.harmDisk(f, h, d, lasts, during)
	case clockJump:
		w.oracle.count(func(s *Stats) *int64 { return &s.ClockJumps })
		h.setClock(d)
	case transfer:
		w.oracle.count(func(s *Stats) *int64 { return &s.Transfers })
		if p := w.anyone(d); p != nil {
			during(func() {}, func() {
				ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
				defer cancel()
				w.history.note(p.h.name, "transfer of leadership: %v", p.cluster.TransferLeadership(ctx, ""))
			})
		}
	}
}

// diskStall is how long a write may take before a node gives itself up.
const diskStall = 1500 * time.Millisecond

func (w *World) harmDisk(f fault, h *host, d *dice, lasts time.Duration, during func(begin, end func())) {
	p := h.running()
	if p == nil {
		return
	}
	w.history.note("chaos", "%s of %s", f, h.name)
	end := func() { p.disk.lift(); w.history.note("chaos", "%s of %s is over", f, h.name); w.restart(h) }
	switch f {
	case slowDisk:
		by := d.wait(time.Millisecond, 100*time.Millisecond)
		w.oracle.count(func(s *Stats) *int64 { return &s.SlowDisks })
		during(func() { p.disk.setSlow(by) }, end)
	case hungDisk:
		w.oracle.count(func(s *Stats) *int64 { return &s.HungDisks })
		// A node whose log hangs ends itself. The watchdog that does so leaves raft with
		// stores that fail, at which it panics; so here the world ends the process.
		dies := lasts > diskStall
		during(p.disk.setHung, func() {
			if dies {
				h.crash(p, false, "its disk hangs")
			}
			end()
		})
	case fullDisk:
		w.oracle.count(func(s *Stats) *int64 { return &s.FullDisks })
		during(func() { p.disk.setFull(func(why string) { go h.crash(p, false, why) }) }, end)
	}
}

// restart starts a machine's node unless it runs or is no member any more.
func (w *World) restart(h *host) {
	if h.running() != nil || w.isRemoved(h.name) {
		return
	}
	w.oracle.count(func(s *Stats) *int64 { return &s.Restarts })
	if err := h.start(); err != nil {
		w.oracle.fail("%v", err)
	}
}

// way is one direction of a link.
type way [2]string

// cut decides which directions a partition blocks.
func (w *World) cut(f fault, host string, d *dice) (cut []way) {
	side := map[string]bool{host: true}
	if f == split && w.c.Nodes > 3 {
		side[pick(d, w.names()...)] = true
	}
	in, out := true, true
	if f == oneWay {
		in = d.chance(50)
		out = !in
	}
	for _, a := range w.names() {
		for _, b := range w.names() {
			if side[a] && !side[b] {
				if out {
					cut = append(cut, way{a, b})
				}
				if in {
					cut = append(cut, way{b, a})
				}
			}
		}
	}
	return cut
}

func (w *World) block(ways ...way) {
	w.history.note("chaos", "block %v", ways)
	w.linksMu.Lock()
	defer w.linksMu.Unlock()
	for _, x := range ways {
		w.links.block(x)
	}
	w.links.look(w.names())
}

func (w *World) unblock(ways ...way) {
	w.history.note("chaos", "unblock %v", ways)
	w.linksMu.Lock()
	defer w.linksMu.Unlock()
	for _, x := range ways {
		w.links.unblock(x)
	}
	w.links.look(w.names())
}

func (w *World) delay(d *dice, most time.Duration) {
	w.history.note("chaos", "delays up to %v", most)
	w.linksMu.Lock()
	defer w.linksMu.Unlock()
	w.links.delay(d, w.names(), most)
}

// heal ends every fault of network and disks.
func (w *World) heal() {
	w.linksMu.Lock()
	w.links.heal()
	w.linksMu.Unlock()
	for _, h := range w.all() {
		if p := h.running(); p != nil {
			p.disk.lift()
		}
	}
}

// cutSince says since when no message has made a round trip to a host; zero: one can.
func (w *World) cutSince(host string) time.Time {
	w.linksMu.Lock()
	defer w.linksMu.Unlock()
	return w.links.since[host]
}
