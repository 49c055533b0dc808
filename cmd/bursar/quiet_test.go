package main

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"
)

// Three nodes that form a cluster, work and stop have nothing to warn of: an
// operator who is shown warnings of what is in order learns to look away.
func TestNormalStartRunAndStopLogNoWarning(t *testing.T) {
	c := startCluster(t, 3, nil)
	c.makeTeam("team", 1_000)
	for i := range c.nodes {
		if status, allowed := c.checkOn(i, "team"); status != http.StatusOK || !allowed {
			t.Errorf("%s: a check answers %d, allowed %v", c.nodes[i].name, status, allowed)
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
				t.Errorf("%s: %s", node.name, line)
			}
		}
		if lines < 5 {
			t.Errorf("%s logged %d lines: the test shows nothing", node.name, lines)
		}
	}
}
