package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Two of three nodes are lost for good. What the third has on its disk, with the
// events that it took when nobody could lead any more, becomes a new cluster:
// every acknowledged event is in it once, and what is left of the budget is
// spendable to exactly the limit.
func TestOneDiskOfThreeBecomesANewCluster(t *testing.T) {
	notShort(t)
	t.Parallel()
	const (
		team  = "team"
		limit = 300
		spent = 100
		late  = 8 // recorded by the last node alone
	)
	old := startCluster(t, 3, nil)
	old.makeTeam(team, limit)
	l := &load{c: old, team: team, limit: limit}
	l.pick = l.anyNode
	var reservations []string
	for i := range spent {
		reservation, _ := l.reserve(t.Context(), time.Minute, true)
		if i < spent-late {
			l.ingest(t.Context(), fmt.Sprintf("evt-%d", i), reservation)
		} else {
			reservations = append(reservations, reservation)
		}
	}
	old.nodes[1].kill()
	old.nodes[2].kill()
	l.pick = func() int { return 0 }
	var all sync.WaitGroup
	for i, reservation := range reservations {
		all.Go(func() { l.ingest(t.Context(), fmt.Sprintf("late-%d", i), reservation) })
	}
	all.Wait()
	l.faults()
	file := filepath.Join(t.TempDir(), "salvaged")
	salvage := []string{"salvage", file, "--data-dir", old.nodes[0].dir}
	if code, output := old.command(salvage...); code != exitFailed || !strings.Contains(output, "in use by another bursar process") {
		t.Fatalf("salvaging from a running node: exit code %d\n%s", code, output)
	}
	old.nodes[0].kill()
	t.Log(strings.TrimSpace(old.must(salvage...)))
	if code, output := old.command(salvage...); code != exitUsage || !strings.Contains(output, "--force") {
		t.Errorf("over a file: exit code %d\n%s", code, output)
	}
	old.must(append(salvage, "--force", "--data-dir", old.nodes[1].dir, "--data-dir", old.nodes[2].dir)...)
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".*")); len(left) > 0 {
		t.Errorf("salvaging left %v", left)
	}

	c := startRestored(t, 1, old.token, file, "--in-doubt", "free")
	lines := c.ledger(0)
	for _, id := range l.acked {
		if len(lines[id]) != 1 {
			t.Errorf("%s was acknowledged and is %d times in the ledger", id, len(lines[id]))
		}
	}
	if b, err := c.balance(0, team); err != nil || b.Used != spent || b.InDoubt != 0 {
		t.Errorf("%+v (%v), want %d used and no doubt", b, err, spent)
	}
	after := &load{c: c, team: team, limit: limit}
	after.pick = after.anyNode
	after.spendRoom(t, limit-spent)
	after.faults()
	c.stopAll()
}

func TestSalvageRefusesWhatIsNoNodes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := launch(t, filepath.Join(t.TempDir(), "log"), nil, "salvage", filepath.Join(dir, "file"), "--data-dir", dir)
	if code := p.wait(commandWithin); code != exitFailed || !strings.Contains(p.logged(), "is no node's") {
		t.Errorf("exit code %d\n%s", code, p.logged())
	}
	if entries, _ := os.ReadDir(dir); len(entries) > 0 {
		t.Errorf("it left %v", entries)
	}
}
