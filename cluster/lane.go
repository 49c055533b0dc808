package cluster

import "github.com/bursar-dev/bursar/enforcer"

// The hazard: what waits for a leader must not crowd out what makes one serve. A
// node forwards its callers' ingests, releases and reads by the thousand; without a
// leader they all wait, and if sessions and draws stood in the same line behind
// them, nodes would be declared dead and checks refused for want of a place.
//
// So requests go in lanes, each over a connection of its own, with bounds of its
// own on both sides (maxCallsPerConn, maxRequestsPerConn, maxRequests): a full lane holds up nobody in another.

// laneOf returns which of the peer port's request protocols carries a method:
//
//	forSessions  what keeps a node alive: few, small but for a reconcile's parts
//	forLeases    what checks wait for: each within its caller's patience
//	forRPC       everything else: what is forwarded for callers, reads, administration
func laneOf(m method) purpose {
	switch m {
	case methodReconcile, methodReconcilePacked, methodProposeQuick, methodJoin:
		return forSessions
	}
	if m > methodEnforcer {
		switch enforcer.Method(m - methodEnforcer) {
		case enforcer.MethodDraw, enforcer.MethodCancel, enforcer.MethodConfirm,
			enforcer.MethodKeepDraw, enforcer.MethodLive, enforcer.MethodSyncDraws:
			return forLeases
		}
	}
	return forRPC
}
