package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Three nodes that form a cluster, work and stop have nothing to warn of: an
// operator who is shown warnings of what is in order learns to look away.
//
// A machine that stands still makes nodes warn of each other, and rightly. So what
// is seen then proves nothing, and a fresh cluster tries again; but what every one of three
// clusters warns of does not come from that. To repeat whenever there is a warning would
// be simpler, and let pass what one normal stop in two warns of.
func TestNormalStartRunAndStopLogNoWarning(t *testing.T) {
	const (
		attempts = 3
		still    = 100 * time.Millisecond // a fifth of the silence after which raft stands for election
	)
	var always map[string]string
	for range attempts {
		var seen map[string]string
		gap := longestGap(func() { seen = warningsOfALife(t) })
		if always == nil || gap < still {
			always = seen
		}
		maps.DeleteFunc(always, func(what, _ string) bool { return seen[what] == "" })
		if len(always) == 0 || gap < still {
			break
		}
		t.Logf("the machine stood still for %v; warned of: %v", gap, seen)
	}
	for _, line := range always {
		t.Error(line)
	}
}

// warningsOfALife starts, uses and stops a cluster. It returns what was warned of, whoever did, with one example each.
func warningsOfALife(t *testing.T) map[string]string {
	seen := map[string]string{}
	c := startCluster(t, 3, nil)
	c.makeTeam("team", 1_000)
	for i := range c.nodes {
		if status, allowed := c.checkOn(i, "team"); status != http.StatusOK || !allowed {
			seen["check"] = fmt.Sprintf("%s: a check answers %d, allowed %v", c.nodes[i].name, status, allowed)
		}
	}
	c.stopAll()
	for _, node := range c.nodes {
		lines := 0
		for line := range strings.Lines(node.logged()) {
			lines++
			var entry struct {
				Level slog.Level
				Msg   string
			}
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				t.Errorf("%s logged what is no entry: %s", node.name, line)
				continue
			}
			asked := strings.Contains(entry.Msg, "--insecure-peers") // what the test's own command line asks for
			if entry.Level >= slog.LevelWarn && !asked {
				seen[entry.Msg] = node.name + ": " + line
			}
		}
		if lines < 5 {
			t.Errorf("%s logged %d lines: the test shows nothing", node.name, lines)
		}
	}
	return seen
}

// longestGap runs f and returns for how long, at most, a goroutine that wants to run every few milliseconds could not.
func longestGap(f func()) (longest time.Duration) {
	const every = 10 * time.Millisecond
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for last := time.Now(); ; {
			select {
			case <-stop:
				return
			case <-ticker.C:
				now := time.Now()
				longest = max(longest, now.Sub(last)-every)
				last = now
			}
		}
	}()
	defer func() { close(stop); <-done }()
	f()
	return
}
