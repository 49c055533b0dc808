package cluster

import (
	"sync"
	"time"
)

// awakeParts is how many parts an AwakeTimer waits in.
const awakeParts = 10

// AwakeTimer calls a function after a time in which the process was running. A
// process that is stopped, or whose virtual machine is paused, finds every other timer
// overdue when it goes on, and would take the pause for the slowness of whatever it
// waited for: a disk, say. This one waits in parts, each begun when the one before has ended,
// so that a pause counts as one part at most.
type AwakeTimer struct {
	part time.Duration
	f    func()

	mu    sync.Mutex
	left  int // parts; 0: it has fired or was stopped
	timer *time.Timer
}

// AfterAwake returns a timer that calls f, in a goroutine of its own, after d.
func AfterAwake(d time.Duration, f func()) *AwakeTimer {
	t := &AwakeTimer{part: d / awakeParts, f: f, left: awakeParts}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer = time.AfterFunc(t.part, t.passed)
	return t
}

// passed counts one part.
func (t *AwakeTimer) passed() {
	t.mu.Lock()
	if t.left == 0 {
		t.mu.Unlock()
		return
	}
	if t.left--; t.left > 0 {
		t.timer.Reset(t.part)
		t.mu.Unlock()
		return
	}
	t.mu.Unlock()
	t.f()
}

// Stop keeps the timer from calling its function, if it has not begun to.
func (t *AwakeTimer) Stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.left = 0
	t.timer.Stop()
}
