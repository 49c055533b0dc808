package cluster

import "sync"

// directory knows where nodes can be dialed. Entries come from the replicated
// membership and from nodes that introduced themselves under their certificate;
// the latest word counts, so a node that restarted elsewhere is found before the
// membership says so.
type directory struct {
	mu    sync.RWMutex
	addrs map[string]string // by node name
}

func newDirectory() *directory { return &directory{addrs: make(map[string]string)} }

func (d *directory) set(name, addr string) {
	if name == "" || addr == "" {
		return
	}
	d.mu.Lock()
	d.addrs[name] = addr
	d.mu.Unlock()
}

// addr returns the name's address, or "".
func (d *directory) addr(name string) string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.addrs[name]
}

// all returns every known address but that of except.
func (d *directory) all(except string) []string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var all []string
	for name, addr := range d.addrs {
		if name != except {
			all = append(all, addr)
		}
	}
	return all
}
