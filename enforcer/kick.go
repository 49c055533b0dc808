package enforcer

// kickOn wakes who receives from c, which holds one, unless that is about to happen already. It never blocks.
func kickOn(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
