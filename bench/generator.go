package bench

import (
	"fmt"
	"runtime"
	"time"
)

// Generator is what making the load took, so that a reader can tell a slow
// cluster from a generator that could not keep up.
type Generator struct {
	CPUs        int      `json:"cpus"`
	CPU         float64  `json:"cpu"`                    // processors' time it used itself, per second
	MachineBusy *float64 `json:"machine_busy,omitempty"` // share of this machine's processors in use by all programs, where that can be read
	Lateness    Lateness `json:"lateness"`               // open loop
	// Bottleneck says in sentences why the figures are the generator's and not the cluster's alone. Empty: they are the cluster's.
	Bottleneck []string `json:"bottleneck,omitempty"`
}

// From where on the generator is held to have shaped the figures.
const (
	ownLateFrom  = 200 * time.Microsecond // below this, timers are as good as they get
	ownLateShare = 0.5                    // of the latency's p99
	ownCPUShare  = 0.85                   // of all processors
	busyShare    = 0.95                   // of a machine's processors
	helpedShare  = 0.20                   // of them, the generator's own part in it
)

// usage is a measurement under way.
type usage struct {
	start time.Time
	own   time.Duration
	busy  machineTime
}

func startUsage() usage { return usage{time.Now(), ownCPU(), readMachine()} }

// stop ends the measurement and judges it. p99 is the worst kind's.
func (u usage) stop(late Lateness, p99 time.Duration) Generator {
	g := Generator{CPUs: runtime.GOMAXPROCS(0), Lateness: late}
	if wall := time.Since(u.start); wall > 0 {
		g.CPU = float64(ownCPU()-u.own) / float64(wall)
	}
	if busy, ok := readMachine().busySince(u.busy); ok {
		g.MachineBusy = &busy
	}
	g.judge(p99)
	return g
}

// judge fills Bottleneck.
func (g *Generator) judge(p99 time.Duration) {
	say := func(format string, args ...any) { g.Bottleneck = append(g.Bottleneck, fmt.Sprintf(format, args...)) }
	own := time.Duration(g.Lateness.Own.P99) * time.Microsecond
	if own >= ownLateFrom && float64(own) >= ownLateShare*float64(p99) {
		say("it, or its machine, started calls late (p99 %s of a latency of %s), which counts as latency: the cluster is faster than this says", own, p99)
	}
	if g.CPU >= ownCPUShare*float64(g.CPUs) {
		say("it used %.1f of %d processors itself: give it more, or run several", g.CPU, g.CPUs)
	} else if g.MachineBusy != nil && *g.MachineBusy >= busyShare && g.CPU >= helpedShare*float64(g.CPUs) {
		say("this machine's processors were %.0f %% busy, and it used %.1f of %d itself: run it on a machine of its own to see what the cluster can do", 100**g.MachineBusy, g.CPU, g.CPUs)
	}
}

// machineTime is the time that all processors of a machine have spent, in ticks since it started; zero: unknown.
type machineTime struct{ busy, all uint64 }

func (t machineTime) busySince(before machineTime) (share float64, ok bool) {
	if before.all == 0 || t.all <= before.all {
		return 0, false
	}
	return float64(t.busy-before.busy) / float64(t.all-before.all), true
}
