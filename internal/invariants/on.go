//go:build invariants

package invariants

import "fmt"

// Enabled reports whether expensive assertions are compiled in.
const Enabled = true

// Check panics if cond is false.
func Check(cond bool, format string, args ...any) {
	if !cond {
		panic("invariant violated: " + fmt.Sprintf(format, args...))
	}
}
