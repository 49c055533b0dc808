package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
)

// exported is an export of n lines, oldest first; every fifth voids the one before.
func exported(t *testing.T, n int) (lines []client.LedgerLine) {
	t.Helper()
	prev := ""
	for i := range n {
		l := client.LedgerLine{
			Seq: uint64(i + 1), EventID: fmt.Sprintf("evt-%d", i), Kind: "usage", Account: "acme", Chain: []string{"alice", "acme"},
			Usage: map[string]int64{"requests": 1, "tokens": int64(i)}, ServiceTier: "standard", At: time.UnixMilli(int64(i)).UTC(), Node: "n1", NodeNumber: 1,
			BodyHash: strings.Repeat("ab", 32),
		}
		if i%5 == 4 {
			corrects := uint64(i)
			l.EventID, l.Kind, l.Corrects, l.Usage = lines[i-1].EventID, "void", &corrects, map[string]int64{"requests": -1, "tokens": -int64(i - 1)}
		}
		hash, err := l.ChainHash(prev)
		if err != nil {
			t.Fatal(err)
		}
		l.Hash, prev = &hash, hash
		lines = append(lines, l)
	}
	return lines
}

func ndjson(t *testing.T, lines []client.LedgerLine) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	for i := range lines {
		if err := e.Encode(&lines[i]); err != nil {
			t.Fatal(err)
		}
	}
	return &b
}

func TestExportIsVerifiedInEitherOrder(t *testing.T) {
	for _, newestFirst := range []bool{false, true} {
		for _, n := range []int{0, 1, 2, 20} {
			lines := exported(t, n)
			head := ""
			if n > 0 {
				head = *lines[n-1].Hash
			}
			if newestFirst {
				slices.Reverse(lines)
			}
			found, err := checkExport(context.Background(), "f", ndjson(t, lines), func(int) {})
			if err != nil || !found.Valid || found.Lines != uint64(n) || found.LastSeq != uint64(n) || found.Head != head {
				t.Errorf("%d lines, newest first %v: %v, %+v", n, newestFirst, err, found)
			}
			if n == 20 && (found.Events != 12 || found.Totals["requests"].Int64() != 12) {
				t.Errorf("%d events, totals %v", found.Events, found.Totals)
			}
		}
	}
}

func TestEveryChangeOfAnExportIsNamed(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(l []client.LedgerLine) []client.LedgerLine
		kind string
		seq  uint64
	}{
		"amount":     {func(l []client.LedgerLine) []client.LedgerLine { l[7].Usage["tokens"]++; return l }, "line_hash", 8},
		"first line": {func(l []client.LedgerLine) []client.LedgerLine { l[0].Reason = "x"; return l }, "line_hash", 1},
		"last line":  {func(l []client.LedgerLine) []client.LedgerLine { l[19].Reason = "x"; return l }, "line_hash", 20},
		"node":       {func(l []client.LedgerLine) []client.LedgerLine { l[7].Node = "n2"; return l }, "line_hash", 8},
		"no hash":    {func(l []client.LedgerLine) []client.LedgerLine { l[7].Hash = nil; return l }, "line_hash", 8},
		"missing":    {func(l []client.LedgerLine) []client.LedgerLine { return slices.Delete(l, 7, 9) }, "missing_line", 8},
		"doubled":    {func(l []client.LedgerLine) []client.LedgerLine { return slices.Insert(l, 8, l[7]) }, "double_line", 8},
		"swapped":    {func(l []client.LedgerLine) []client.LedgerLine { l[7], l[8] = l[8], l[7]; return l }, "line_order", 8},
		"event again": {func(l []client.LedgerLine) []client.LedgerLine {
			again := l[7]
			again.Seq = 21
			hash, _ := again.ChainHash(*l[19].Hash)
			again.Hash = &hash
			return append(l, again)
		}, "double_event", 21},
		"account": {func(l []client.LedgerLine) []client.LedgerLine { l[7].Account = "x"; return l }, "foreign_account", 8},
	} {
		t.Run(name, func(t *testing.T) {
			for _, newestFirst := range []bool{false, true} {
				lines := c.edit(exported(t, 20))
				if newestFirst {
					slices.Reverse(lines)
				}
				found, err := checkExport(context.Background(), "f", ndjson(t, lines), func(int) {})
				if err != nil || found.Valid {
					t.Fatalf("%v, %+v", err, found)
				}
				named := slices.ContainsFunc(found.Faults, func(f client.LedgerFault) bool { return f.Kind == c.kind && f.Seq == c.seq })
				if !named && !(newestFirst && (name == "node" || name == "event again" || name == "swapped")) { // there the other of two is named
					t.Errorf("newest first %v: %+v", newestFirst, found.Faults)
				}
			}
		})
	}
	t.Run("cut short", func(t *testing.T) {
		whole := ndjson(t, exported(t, 3)).String()
		found, err := checkExport(context.Background(), "f", strings.NewReader(whole[:len(whole)-20]), func(int) {})
		if err != nil || found.Valid || found.Faults[0].Kind != "unreadable" {
			t.Errorf("%v, %+v", err, found)
		}
	})
}

// stoppedNode makes the data directory of a node that has settled some events and stopped.
func stoppedNode(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	m, err := fsm.Open(filepath.Join(dir, stateDir), fsm.Options{Logger: newLogger(io.Discard, slog.LevelError)})
	if err != nil {
		t.Fatal(err)
	}
	index := uint64(0)
	apply := func(body fsm.Body) {
		t.Helper()
		index++
		data, err := fsm.Encode(&fsm.Command{At: 1_795_341_600_000 + int64(index), Body: body})
		if err == nil {
			_, err = m.Apply([]fsm.Entry{{Index: index, Term: 1, Data: data}})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	apply(fsm.Init{ClusterID: "c", Shares: fsm.DefaultShares, MaxStalenessMS: 10_000})
	apply(fsm.PutAccount{ID: "acme", Name: "Acme"})
	for i := range 70 {
		apply(fsm.Reconcile{Parts: []fsm.Part{{Node: 1, Events: []fsm.Event{{
			Account: "acme", ID: fmt.Sprintf("evt-%d", i), Chain: []string{"acme"}, Usage: []fsm.Quantity{{Capability: "tokens", Amount: int64(i)}}, At: 1_795_341_600_000,
		}}}}})
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestStoppedNodeIsVerifiedOnItsDisk(t *testing.T) {
	dir := stoppedNode(t)
	before := filesBelow(t, dir)
	verify := func(format string) (string, error) {
		var out bytes.Buffer
		c := &ledgerVerifyCmd{DataDir: dir}
		v := &verification{out: &out, format: format, shown: newProgress(io.Discard)}
		err := c.verifyDir(context.Background(), v, newLogger(io.Discard, slog.LevelError))
		err = errors.Join(err, v.end())
		return out.String(), err
	}
	out, err := verify(outputTable)
	if err != nil || !strings.HasPrefix(out, "acme: sound as of index 72: 70 lines, 70 event ids") {
		t.Fatalf("%q, %v", out, err)
	}
	if out, err = verify(outputJSON); err != nil || !strings.Contains(out, `"valid": true`) {
		t.Errorf("%s, %v", out, err)
	}
	if after := filesBelow(t, dir); !slices.Equal(before, after) {
		t.Errorf("the directory has changed: before\n%v, after\n%v", before, after)
	}

	lock, err := lockDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := verify(outputTable); err == nil || !strings.Contains(err.Error(), "stop the node first") {
		t.Errorf("of a running node: %v", err)
	}
	lock.Close()

	flipBits(t, filepath.Join(dir, stateDir))
	if out, err = verify(outputTable); err == nil {
		t.Errorf("with flipped bits: %q", out)
	}
}

// filesBelow lists names, sizes and times of change of the files below a directory, the lock left out.
func filesBelow(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == lockFile {
			return err
		}
		info, err := d.Info()
		if err == nil {
			all = append(all, fmt.Sprint(path, info.Size(), info.ModTime()))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// flipBits damages every table of a stopped store.
func flipBits(t *testing.T, dir string) {
	t.Helper()
	tables, err := filepath.Glob(filepath.Join(dir, "store-*", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("no tables in %s: %v", dir, err)
	}
	for _, path := range tables {
		data, err := os.ReadFile(path)
		if err == nil {
			for i := 100; i < len(data)/2; i += 100 {
				data[i] ^= 1
			}
			err = os.WriteFile(path, data, modePrivate)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
