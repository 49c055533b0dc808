// Package invariants holds assertions that are compiled in with the build tag
// "invariants" (as in CI) and cost nothing otherwise.
//
// Guard the computing of a condition with Enabled, so that it costs nothing either:
//
//	if invariants.Enabled {
//		invariants.Check(sum() <= limit, "used+leased %d > limit %d", sum(), limit)
//	}
package invariants
