package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bursar-dev/bursar/client"
)

const commandWithin = 30 * time.Second // for a command to be done

// command runs the program with the cluster's root token and returns its exit code and what it printed on either output.
func (c *testCluster) command(args ...string) (code int, output string) {
	c.t.Helper()
	p := launch(c.t, filepath.Join(c.t.TempDir(), "log"), []string{"BURSAR_TOKEN=" + c.token}, args...)
	code = p.wait(commandWithin)
	return code, p.stdout.String() + p.logged()
}

// must is command for one that has to succeed.
func (c *testCluster) must(args ...string) string {
	c.t.Helper()
	code, output := c.command(args...)
	if code != exitDone {
		c.t.Fatalf("bursar %s: exit code %d\n%s", strings.Join(args, " "), code, output)
	}
	return output
}

// backup takes a backup of the cluster through node i.
func (c *testCluster) backup(i int) (file string) {
	c.t.Helper()
	file = filepath.Join(c.t.TempDir(), "bursar.backup")
	c.must("backup", file, "--admin", "http://"+c.nodes[i].admin)
	return file
}

// startRestored starts a cluster of n nodes the first of which has the backup.
func startRestored(t *testing.T, n int, token, file string, more ...string) *testCluster {
	t.Helper()
	c := startCluster(t, n, func(node *testNode) {
		if node.name == "node-1" {
			args := append([]string{"restore", file, "--node-id", node.name, "--data-dir", node.dir}, more...)
			p := launch(t, filepath.Join(t.TempDir(), "log"), nil, args...)
			if code := p.wait(commandWithin); code != exitDone {
				t.Fatalf("restore: exit code %d\n%s", code, p.logged())
			}
		}
	})
	c.token = token
	return c
}

// books reads what two clusters are compared by, as the API tells it, without what each has of its own.
func (c *testCluster) books(i int) map[string]any {
	c.t.Helper()
	all := map[string]any{}
	for _, path := range []string{
		"/v1/entity-types", "/v1/capabilities", "/v1/accounts", "/v1/tokens",
		"/v1/accounts/" + testAccount + "/entities", "/v1/accounts/" + testAccount + "/assignments",
		"/v1/accounts/" + testAccount + "/ledger?limit=1000",
		"/v1/accounts/" + testAccount + "/balances", "/v1/accounts/" + testAccount + "/tree",
	} {
		var answer map[string]any
		if err := c.get(i, path, &answer); err != nil {
			c.t.Fatal(err)
		}
		if answer["next"] != nil {
			c.t.Fatalf("%s has another page: the test compares one", path)
		}
		for _, item := range answer["items"].([]any) {
			for _, own := range []string{"leased", "in_doubt", "reserved", "available", "remaining", "utilization"} {
				delete(item.(map[string]any), own)
			}
		}
		all[path] = answer["items"]
	}
	return all
}

// A backup of a running cluster becomes a cluster with the same books. What the
// old nodes had for calls under way is room for nobody until it is decided on;
// then the rest of the budget is spendable to exactly the limit.
func TestBackupBecomesAClusterWithTheSameBooks(t *testing.T) {
	notShort(t)
	t.Parallel()
	const (
		team  = "team"
		limit = 600
		spent = 250
	)
	old := startCluster(t, 3, nil)
	old.makeTeam(team, limit)
	var token client.Token
	if err := old.call(http.MethodPost, "http://"+old.nodes[1].admin+"/v1/tokens", client.Token{Name: "gateway", Role: "service"}, &token); err != nil {
		t.Fatal(err)
	}
	l := &load{c: old, team: team, limit: limit}
	l.pick = l.anyNode
	var reservations []string
	for i := range spent {
		reservation, _ := l.reserve(t.Context(), time.Minute, true)
		l.ingest(t.Context(), fmt.Sprintf("evt-%d", i), reservation)
		reservations = append(reservations, reservation)
	}
	l.faults()
	old.settles(team, spent, 20*time.Second)
	under, ok := l.reserve(t.Context(), time.Minute, true) // a call under way when the backup is taken
	if !ok {
		t.Fatal("refused")
	}
	file := old.backup(2)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string]string{"root": old.token, "service": token.Token} {
		if bytes.Contains(data, []byte(secret)) {
			t.Errorf("the backup has the %s token in it", name)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != modePrivate {
		t.Errorf("the backup's mode is %v (%v), want 0600", info.Mode(), err)
	}
	want := old.books(0)
	for _, node := range old.nodes {
		node.kill()
	}

	c := startRestored(t, 3, old.token, file)
	for i := range c.nodes {
		if diff := cmp.Diff(want, c.books(i)); diff != "" {
			t.Fatalf("%s (-of the old cluster +of the new):\n%s", c.nodes[i].name, diff)
		}
	}
	b, err := c.balance(1, team)
	if err != nil || b.Used != spent || b.InDoubt == 0 || *b.Available != limit-spent-b.InDoubt {
		t.Fatalf("restored: %+v (%v), want %d used and the old nodes' leases in doubt", b, err, spent)
	}
	t.Logf("in doubt after the restoring: %d of %d", b.InDoubt, limit)
	var verified client.AuditVerification
	if err := c.get(0, "/v1/audit/verify", &verified); err != nil || !verified.Valid {
		t.Errorf("audit trail: %+v %v", verified, err)
	}

	// The call that was under way is charged, once, and what was recorded before is a duplicate.
	after := &load{c: c, team: team, limit: limit}
	after.pick = after.anyNode
	after.ingest(t.Context(), "evt-under-way", under)
	for i, reservation := range reservations[:10] {
		after.ingest(t.Context(), fmt.Sprintf("evt-%d", i), reservation)
	}
	c.settlesInDoubt(team, spent+1, b.InDoubt)
	// Before the doubt is resolved, exactly the rest is spendable: nobody is let into what may be spent.
	after.spendRoom(t, limit-spent-1-b.InDoubt)
	for _, node := range old.nodes {
		if err := c.call(http.MethodPost, "http://"+c.nodes[0].admin+"/v1/cluster/nodes/"+node.name+"/forfeit", client.ForfeitNode{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	after.spendRoom(t, b.InDoubt)
	after.faults()
	c.settles(team, limit, 20*time.Second)
	c.stopAll()
}

// spendRoom spends until the first proven refusal, which must come after exactly room calls.
func (l *load) spendRoom(t *testing.T, room int64) {
	t.Helper()
	for n := int64(0); ; n++ {
		reservation, ok := l.reserve(t.Context(), time.Minute, false)
		if !ok {
			if n != room {
				t.Errorf("%d calls were let in, want exactly %d", n, room)
			}
			return
		}
		l.ingest(t.Context(), "evt-"+reservation, reservation)
	}
}

// settlesInDoubt waits until every node shows so much used, nothing held and so much in doubt.
func (c *testCluster) settlesInDoubt(team string, used, inDoubt int64) {
	c.t.Helper()
	for i := range c.nodes {
		eventually(c.t, 20*time.Second, func() error {
			b, err := c.balance(i, team)
			if err == nil && (b.Used != used || b.Reserved != 0 || b.InDoubt != inDoubt) {
				err = fmt.Errorf("%s: used %d, reserved %d, in_doubt %d; want %d, 0, %d", c.nodes[i].name, b.Used, b.Reserved, b.InDoubt, used, inDoubt)
			}
			return err
		})
	}
}

// A backup under load is of one moment: its ledger and its balances agree, and
// whatever had been acknowledged before it was asked for is in it.
func TestBackupUnderLoadIsOfOneMoment(t *testing.T) {
	notShort(t)
	t.Parallel()
	const team, limit = "team", 1_000_000
	old := startCluster(t, 3, nil)
	old.makeTeam(team, limit)
	l := &load{c: old, team: team, limit: limit}
	l.pick = l.anyNode
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				l.ingest(t.Context(), fmt.Sprintf("evt-%d", i), "")
			}
		}
	}()
	eventually(t, 20*time.Second, func() error {
		if n := l.settled.Load(); n < 100 {
			return fmt.Errorf("%d events", n)
		}
		return nil
	})
	l.mu.Lock()
	before := len(l.acked)
	l.mu.Unlock()
	file := old.backup(1)
	close(stop)
	<-stopped
	l.faults()
	for _, node := range old.nodes {
		node.kill()
	}

	c := startRestored(t, 1, old.token, file, "--in-doubt", "free")
	lines := c.ledger(0)
	b, err := c.balance(0, team)
	if err != nil || b.Used != int64(len(lines)) || b.InDoubt != 0 {
		t.Errorf("%d lines, and a balance of %d used, %d in doubt (%v); want as many and no doubt", len(lines), b.Used, b.InDoubt, err)
	}
	t.Logf("%d events before the backup, %d in it, %d in all", before, len(lines), len(l.acked))
	for _, id := range l.acked[:before] {
		if len(lines[id]) != 1 {
			t.Errorf("%s was acknowledged before the backup and is %d times in it", id, len(lines[id]))
		}
	}
}

func TestBadBackupsAndRestoresAreRefused(t *testing.T) {
	notShort(t)
	t.Parallel()
	c := startCluster(t, 1, nil)
	c.makeTeam("team", 10)
	file := c.backup(0)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, modePrivate); err != nil {
			t.Fatal(err)
		}
		return path
	}
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	newer := bytes.Clone(whole)
	newer[11] = 99 // the format's last byte
	target := func(name string) []string {
		return []string{"--node-id", "node-1", "--data-dir", filepath.Join(dir, name)}
	}
	var auditor client.Token
	if err := c.call(http.MethodPost, "http://"+c.nodes[0].admin+"/v1/tokens", client.Token{Name: "a", Role: "admin"}, &auditor); err != nil {
		t.Fatal(err)
	}
	restore := func(path string, to ...string) []string { return append([]string{"restore", path}, to...) }
	for _, tt := range []struct {
		name string
		args []string
		code int
		want []string
	}{
		{"cut short", restore(write("cut", whole[:len(whole)-9]), target("a")...), exitFailed, []string{"not a whole backup", "ends early"}},
		{"damaged", restore(write("flipped", flipped), target("b")...), exitFailed, []string{"not a whole backup"}},
		{"something else", restore(write("foreign", []byte(strings.Repeat("hello, world\n", 100))), target("c")...), exitFailed, []string{"not a whole backup", "begin like one"}},
		{"empty", restore(write("nothing", nil), target("d")...), exitFailed, []string{"not a whole backup"}},
		{"of another format", restore(write("newer", newer), target("e")...), exitFailed, []string{"format"}},
		{"more than a backup", restore(write("longer", append(bytes.Clone(whole), 0)), target("f")...), exitFailed, []string{"goes on after its end"}},
		{"no such file", restore(filepath.Join(dir, "none"), target("g")...), exitFailed, []string{"no such file"}},
		{"directory of a running node", restore(file, "--node-id", "node-1", "--data-dir", c.nodes[0].dir), exitFailed, []string{"in use by another bursar process"}},
		{"directory with something in it", restore(file, "--node-id", "node-1", "--data-dir", dir), exitFailed, []string{"empty directory"}},
		{"no node id", restore(file, "--data-dir", filepath.Join(dir, "h")), exitUsage, []string{"--node-id"}},
		{"unknown fate", append(restore(file, target("i")...), "--in-doubt", "maybe"), exitUsage, []string{"--in-doubt"}},
		{"checked", restore(file, "--check"), exitDone, []string{"a whole backup as of index"}},
		{"checked and damaged", restore(filepath.Join(dir, "flipped"), "--check"), exitFailed, []string{"not a whole backup"}},
		{"backup over a file", []string{"backup", file, "--admin", c.nodes[0].admin}, exitUsage, []string{"--force"}},
		{"backup with an admin's token", []string{"backup", filepath.Join(dir, "j"), "--admin", c.nodes[0].admin, "--token", auditor.Token}, exitFailed, []string{"root token"}},
		{"backup of nobody", []string{"backup", filepath.Join(dir, "k"), "--admin", loopback(1)}, exitFailed, []string{loopback(1)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, output := c.in(t).command(tt.args...)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, part := range tt.want {
				if !strings.Contains(output, part) {
					t.Errorf("lacks %q:\n%s", part, output)
				}
			}
		})
	}
	for _, name := range strings.Split("abcdefghi", "") {
		if entries, err := os.ReadDir(filepath.Join(dir, name)); err == nil && len(entries) > 1 {
			t.Errorf("a restoring that failed left %v", entries)
		}
	}
	for _, name := range []string{"j", "k"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			t.Errorf("a backup that failed left a file")
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("failed backups left %v", left)
	}
	if again := c.must("backup", file, "--admin", c.nodes[0].admin, "--force", "--output", "json"); !json.Valid([]byte(again)) {
		t.Errorf("--output json: %s", again)
	}
}
