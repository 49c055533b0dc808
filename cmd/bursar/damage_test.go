package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bursar-dev/bursar/cluster"
	"github.com/bursar-dev/bursar/enforcer"
	"github.com/bursar-dev/bursar/fsm"
)

// A data directory that a disk, a copy or a hand has changed is refused with a message, or
// opens with what was in it. What cannot be told from a crash is taken as one: the end
// of a log is gone. Of the state, raft's log brings it back; of the reservation journal, more
// is held than has to be; of the outbox it can be the event that was written last.

// content is what a node's directory holds, as far as it can be seen without a cluster.
type content struct {
	Index    uint64
	Sum      uint64
	Ledger   []fsm.LedgerLine
	Audit    []fsm.AuditEntry
	Used     []int64
	Reserved []int64 // by live reservations and events in the outbox
}

// readNode opens the state machine and the enforcer over a data directory.
func readNode(dir string, kernel [16]byte) (c content, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errPanic, p)
		}
	}()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	m, err := fsm.Open(filepath.Join(dir, stateDir), fsm.Options{Logger: quiet})
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	c.Index, c.Sum = m.Checksum()
	if c.Ledger, _, err = m.ListLedger(testAccount, fsm.LedgerFilter{}, 0, fsm.MaxPage); err != nil {
		return c, err
	}
	if c.Audit, _, err = m.ListAudit(fsm.AuditFilter{}, 0, fsm.MaxPage); err != nil {
		return c, err
	}
	slices.SortFunc(c.Ledger, func(a, b fsm.LedgerLine) int { return cmp.Compare(a.Seq, b.Seq) })
	slices.SortFunc(c.Audit, func(a, b fsm.AuditEntry) int { return cmp.Compare(a.Seq, b.Seq) })
	if _, broken, err := m.VerifyAudit(); err != nil || broken != 0 {
		return c, fmt.Errorf("the audit trail is broken at %d: %w", broken, err)
	}
	var peers cluster.LatePeers
	e, err := enforcer.Open(enforcer.Config{Name: "node-3", Node: 3, DataDir: dir, Logger: quiet, KernelBoot: kernel}, m, &peers)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	m.View(func(v *fsm.View) {
		for _, a := range v.Assignments(testAccount, goldenTeam) {
			b := v.Budget(a, 0)
			c.Used, c.Reserved = append(c.Used, b.Used), append(c.Reserved, e.Reserved(b.Key))
		}
	})
	return c, nil
}

// damages are what may happen to a file of so many bytes.
func damages(rng *rand.Rand, size int) map[string]func([]byte) []byte {
	all := map[string]func([]byte) []byte{
		"emptied":   func([]byte) []byte { return nil },
		"foreign":   func([]byte) []byte { return []byte("GIF89a, a picture of somebody's cat\n") },
		"cut short": func(b []byte) []byte { return b[:len(b)-1] },
		"halved":    func(b []byte) []byte { return b[:len(b)/2] },
	}
	for i := range 8 {
		at, bit := rng.IntN(size), byte(1)<<rng.IntN(8)
		if i < 3 {
			at = min(i*7, size-1) // headers
		}
		all[fmt.Sprintf("bit %08b of byte %d", bit, at)] = func(b []byte) []byte { b[at] ^= bit; return b }
	}
	return all
}

func TestDamagedDataDirectoriesAreRefusedOrUnchanged(t *testing.T) {
	notShort(t)
	releases, err := os.ReadDir(goldenDir)
	if err != nil {
		t.Fatal(err)
	}
	release := releases[len(releases)-1].Name()
	sound := t.TempDir()
	files := unpackGolden(t, release, sound)
	journal, err := os.ReadFile(filepath.Join(sound, "node-3", "journal", "0000000000000001.journal"))
	if err != nil {
		t.Fatal(err)
	}
	kernel := [16]byte(journal[24:]) // as if no machine had crashed since, which would excuse holes
	want, err := readNode(copyDir(t, filepath.Join(sound, "node-3")), kernel)
	if err != nil {
		t.Fatal(err)
	}
	if len(want.Ledger) == 0 || want.Reserved[0] == 0 {
		t.Fatalf("the golden node holds too little: %+v", want)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	outcomes := map[string]int{}
	for _, path := range files {
		name, _ := filepath.Rel(filepath.Join(sound, "node-3"), path)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		part, _, _ := strings.Cut(filepath.ToSlash(name), "/")
		if !slices.Contains([]string{stateDir, "journal", "outbox", "session"}, part) || len(data) == 0 {
			continue
		}
		for how, change := range damages(rng, len(data)) {
			dir := copyDir(t, filepath.Join(sound, "node-3"))
			if err := os.WriteFile(filepath.Join(dir, name), change(slices.Clone(data)), modePrivate); err != nil {
				t.Fatal(err)
			}
			got, err := readNode(dir, kernel)
			os.RemoveAll(dir)
			outcome := judgeDamage(part, got, want, err)
			if outcome == "" {
				t.Errorf("%s, %s: %v; index %d, %d lines, used %v, reserved %v; want a refusal, or index %d, %d lines, used %v, reserved %v", name, how, err,
					got.Index, len(got.Ledger), got.Used, got.Reserved, want.Index, len(want.Ledger), want.Used, want.Reserved)
			}
			outcomes[outcome]++
		}
	}
	t.Logf("%v", outcomes)
}

// judgeDamage names what a damaged part has led to; empty: what must not be.
func judgeDamage(part string, got, want content, err error) string {
	end := got
	end.Reserved = want.Reserved
	switch {
	case errors.Is(err, errPanic):
		return ""
	case err != nil:
		return "refused"
	case same(got, want):
		return "same content"
	case part == stateDir && got.Index < want.Index && isPrefix(got, want):
		return "an earlier state, which raft's log completes"
	case part == "journal" && same(end, want) && got.Reserved[0] > want.Reserved[0]:
		return "a torn journal, with too much held"
	case part == "outbox" && same(end, want) && got.Reserved[0] < want.Reserved[0]:
		return "a torn outbox"
	}
	return ""
}

var errPanic = errors.New("panic")

func same(a, b content) bool { return gocmp.Equal(a, b, cmpopts.EquateEmpty()) }

// isPrefix reports whether got is what want was at an earlier index.
func isPrefix(got, want content) bool {
	if len(got.Ledger) > len(want.Ledger) || len(got.Audit) > len(want.Audit) {
		return false
	}
	return same(content{Ledger: got.Ledger, Audit: got.Audit}, content{Ledger: want.Ledger[:len(got.Ledger)], Audit: want.Audit[:len(got.Audit)]})
}

func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// raft's log, and what says whose the directory is, are read when the node starts.
func TestDamagedRaftLogOrIdentityEndsTheStartWithAMessage(t *testing.T) {
	notShort(t)
	releases, err := os.ReadDir(goldenDir)
	if err != nil {
		t.Fatal(err)
	}
	for file, names := range map[string]string{"node.json": "node.json", "raft/raft.db": "raft"} {
		for _, how := range []string{"emptied", "foreign", "halved"} {
			t.Run(file+" "+how, func(t *testing.T) {
				c := goldenCluster(t)
				unpackGolden(t, releases[len(releases)-1].Name(), c.dir)
				path := filepath.Join(c.nodes[2].dir, file)
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, damages(rand.New(rand.NewPCG(1, 1)), len(data))[how](data), modePrivate); err != nil {
					t.Fatal(err)
				}
				c.start(2)
				if code := c.nodes[2].wait(20 * time.Second); code != exitFailed || !strings.Contains(c.nodes[2].logged(), names) {
					t.Errorf("ended with code %d; want %d and a message that names it\n%s", code, exitFailed, c.nodes[2].tail())
				}
			})
		}
	}
}
