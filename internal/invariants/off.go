//go:build !invariants

package invariants

// Enabled reports whether expensive assertions are compiled in.
const Enabled = false

// Check does nothing in this build.
func Check(bool, string, ...any) {}
