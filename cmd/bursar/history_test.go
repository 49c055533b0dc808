package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// This file decides whether what clients have seen can be explained by one thing
// that does one thing at a time (linearizability), with porcupine. There are two such
// things: a register (a setting of the control plane) and a bounded counter (a hard
// budget). A history is what clients did: when they called, when they were answered, with what.
//
// An answer that never came may stand for an effect at any time after the call, or for
// none: such an operation has no end.

// history collects operations of concurrent clients on many things, each by its name.
type history struct {
	began time.Time
	mu    sync.Mutex
	ops   map[string][]porcupine.Operation
}

func newHistory() *history {
	return &history{began: time.Now(), ops: map[string][]porcupine.Operation{}}
}

func (h *history) now() int64 { return time.Since(h.began).Nanoseconds() }

// never is the end of an operation whose effect is unknown.
const never = int64(math.MaxInt64)

// add records an operation that was called at call and has just been answered, or
// never will be.
func (h *history) add(client int, name string, call int64, input, output any, unknown bool) {
	op := operation(client, call, h.now(), input, output)
	if unknown {
		op.Return = never
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops[name] = append(h.ops[name], op)
}

func operation(client int, call, end int64, input, output any) porcupine.Operation {
	return porcupine.Operation{ClientId: client, Input: input, Call: call, Output: output, Return: end}
}

// checkFor bounds the search for an explanation of one history. Most take milliseconds.
const checkFor = 30 * time.Second

// explained fails the test if a history has no explanation, and leaves a picture of it.
// It returns how many operations were looked at. Operations that need not have had an
// effect make the search long; mostly there is an explanation without them.
func (h *history) explained(t testing.TB, model porcupine.Model) (operations int) {
	t.Helper()
	for name, ops := range h.ops {
		operations += len(ops)
		sure := slices.DeleteFunc(slices.Clone(ops), optional)
		if porcupine.CheckOperationsTimeout(model, sure, checkFor) == porcupine.Ok {
			continue
		}
		switch result, info := porcupine.CheckOperationsVerbose(model, ops, checkFor); result {
		case porcupine.Illegal:
			t.Errorf("what was seen of %s has no explanation: open %s", name, drawn(t, model, info, name))
		case porcupine.Unknown:
			t.Errorf("no explanation of %d operations on %s found within %v", len(ops), name, checkFor)
		}
	}
	return operations
}

// optional reports whether an operation may have been without effect, so that a history that is
// explained without it is explained.
func optional(op porcupine.Operation) bool {
	return op.Return == never && op.Output != given
}

// drawn keeps the picture of a history and returns its path.
func drawn(t testing.TB, model porcupine.Model, info porcupine.LinearizationInfo, name string) string {
	dir, err := os.MkdirTemp("", "bursar-history-")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, filepath.Base(name)+".html")
	if err := porcupine.VisualizePath(model, info, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// setting is an operation on a register: a write of value, or a read, whose output is what was read.
type setting struct {
	write bool
	value string
}

// register is a setting of the control plane. A read answers what the last write before it wrote.
var register = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		if in := input.(setting); in.write {
			return true, in.value
		}
		return state == output, state
	},
	DescribeOperation: func(input, output any) string {
		if in := input.(setting); in.write {
			return "write " + in.value
		}
		return fmt.Sprintf("read %v", output)
	},
}

// draw is an operation on a budget: amount is taken, or, below 0, given back by a
// release or by what an event leaves of its reservation.
type draw struct {
	amount int64
	limit  int64
}

// verdict is what became of a draw.
type verdict string

const (
	granted verdict = "granted"
	refused verdict = "refused" // a proof that amount does not fit
	given   verdict = "given back"
	// A check without an answer may have taken its amount. One that was answered
	// "unavailable" may have done so for a while: it is a maybe with an undone.
	maybe  verdict = "maybe"
	undone verdict = "undone"
)

// taken is a budget's state: what was granted, and what maybes have set aside.
type taken struct{ granted, maybe int64 }

// budget is a hard limit. What is granted fits; what is refused does not.
var budget = porcupine.Model{
	Init: func() any { return taken{} },
	Step: func(state, input, output any) (bool, any) {
		s, in := state.(taken), input.(draw)
		fits := s.granted+s.maybe+in.amount <= in.limit
		switch output.(verdict) {
		case refused:
			return !fits, s
		case maybe:
			if fits {
				s.maybe += in.amount
			}
			return true, s
		case undone:
			s.maybe += max(in.amount, -s.maybe)
			return true, s
		}
		s.granted += in.amount
		return fits, s
	},
	DescribeOperation: func(input, output any) string {
		return fmt.Sprintf("%d: %v", input.(draw).amount, output)
	},
	DescribeState: func(state any) string { return fmt.Sprintf("%+v", state) },
}

// forged checks a history made by hand.
func forged(model porcupine.Model, ops ...porcupine.Operation) porcupine.CheckResult {
	result, _ := porcupine.CheckOperationsVerbose(model, ops, time.Minute)
	return result
}

// A checker that never says no shows nothing.
func TestForgedHistoriesOfASettingHaveNoExplanation(t *testing.T) {
	write := func(call, ret int64, v string) porcupine.Operation {
		return porcupine.Operation{Input: setting{true, v}, Call: call, Return: ret}
	}
	read := func(call, ret int64, v string) porcupine.Operation {
		return porcupine.Operation{Input: setting{}, Output: v, Call: call, Return: ret}
	}
	for _, c := range []struct {
		name string
		ops  []porcupine.Operation
		want porcupine.CheckResult
	}{
		{"a read sees the write before it", []porcupine.Operation{write(0, 1, "a"), read(2, 3, "a")}, porcupine.Ok},
		{"a stale read", []porcupine.Operation{write(0, 1, "a"), write(2, 3, "b"), read(4, 5, "a")}, porcupine.Illegal},
		{"a read meanwhile sees either", []porcupine.Operation{write(0, 1, "a"), write(2, 9, "b"), read(3, 4, "a"), read(5, 6, "b")}, porcupine.Ok},
		{"and does not run back", []porcupine.Operation{write(0, 1, "a"), write(2, 9, "b"), read(3, 4, "b"), read(5, 6, "a")}, porcupine.Illegal},
		{"a write without an answer may take effect late", []porcupine.Operation{write(0, 1, "a"), write(2, never, "b"), read(3, 4, "a"), read(90, 91, "b")}, porcupine.Ok},
		{"but not twice", []porcupine.Operation{write(0, 1, "a"), write(2, never, "b"), read(3, 4, "b"), write(5, 6, "a"), read(7, 8, "b")}, porcupine.Illegal},
	} {
		if got := forged(register, c.ops...); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestForgedHistoriesOfABudgetHaveNoExplanation(t *testing.T) {
	op := func(call, ret, amount int64, v verdict) porcupine.Operation {
		return porcupine.Operation{Input: draw{amount, 2}, Output: v, Call: call, Return: ret}
	}
	for _, c := range []struct {
		name string
		ops  []porcupine.Operation
		want porcupine.CheckResult
	}{
		{"exactly the limit", []porcupine.Operation{op(0, 1, 1, granted), op(2, 3, 1, granted), op(4, 5, 1, refused)}, porcupine.Ok},
		{"one over the limit", []porcupine.Operation{op(0, 9, 1, granted), op(0, 9, 1, granted), op(0, 9, 1, granted)}, porcupine.Illegal},
		{"refused while there is room", []porcupine.Operation{op(0, 1, 1, granted), op(2, 3, 1, refused)}, porcupine.Illegal},
		{"refused though what fills it came back before", []porcupine.Operation{op(0, 1, 2, granted), op(2, 3, -1, given), op(4, 5, 1, refused)}, porcupine.Illegal},
		{"refused while it comes back", []porcupine.Operation{op(0, 1, 2, granted), op(2, 5, -1, given), op(4, 6, 1, refused)}, porcupine.Ok},
		{"granted once it has come back", []porcupine.Operation{op(0, 1, 2, granted), op(2, never, -1, given), op(4, 6, 1, granted)}, porcupine.Ok},
		{"granted twice what came back", []porcupine.Operation{op(0, 1, 2, granted), op(2, 3, -1, given), op(4, 6, 1, granted), op(4, 6, 1, granted)}, porcupine.Illegal},
		{"refused because of a call without an answer", []porcupine.Operation{op(0, 1, 1, granted), op(1, never, 1, maybe), op(4, 6, 1, refused)}, porcupine.Ok},
		{"and granted again once that has come to nothing", []porcupine.Operation{op(0, 1, 1, granted), op(1, never, 1, maybe), op(1, never, -1, undone), op(4, 6, 1, refused), op(7, 8, 1, granted)}, porcupine.Ok},
		{"which takes no more than it asked for", []porcupine.Operation{op(1, never, 1, maybe), op(4, 6, 1, refused)}, porcupine.Illegal},
	} {
		if got := forged(budget, c.ops...); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
