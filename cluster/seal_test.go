package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// testLog are entries of every kind and size that a log has.
func testLog(first, last uint64) (logs []*raft.Log) {
	for i := first; i <= last; i++ {
		logs = append(logs, &raft.Log{
			Index: i, Term: 2 + i/50, Type: []raft.LogType{raft.LogCommand, raft.LogCommand, raft.LogNoop, raft.LogConfiguration}[i%4],
			Data: bytes.Repeat([]byte{byte(i)}, int(i*37%3000)), AppendedAt: time.Unix(int64(i), 0),
		})
	}
	return logs
}

// fillLog makes a raft log of a few hundred pages, truncated at both ends as raft does it.
func fillLog(t *testing.T, dir string) {
	s := openSealed(t, dir)
	for at := uint64(1); at <= 200; at += 20 {
		if err := s.StoreLogs(testLog(at, at+19)); err != nil {
			t.Fatal(err)
		}
	}
	err := errors.Join(s.DeleteRange(1, 60), s.DeleteRange(191, 200), s.SetUint64([]byte("CurrentTerm"), 7), s.Set([]byte("LastVoteCand"), []byte("10.0.0.1:7090")), s.Close())
	if err != nil {
		t.Fatal(err)
	}
}

func openSealed(t *testing.T, dir string) RaftStores {
	t.Helper()
	c := Config{}.withDefaults()
	s, err := c.openStores(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// readLog reads everything back. It fails if something is refused; different reports what is not as it was stored.
func readLog(dir string) (different string, err error) {
	c := Config{}.withDefaults()
	s, err := c.openStores(dir)
	if err != nil {
		return "", err
	}
	defer s.Close()
	first, err := s.FirstIndex()
	if err != nil {
		return "", err
	}
	last, err := s.LastIndex()
	if err != nil {
		return "", err
	}
	if first != 61 || last != 190 {
		different = fmt.Sprintf("entries %d to %d", first, last)
	}
	for _, want := range testLog(61, 190) {
		var got raft.Log
		if err := s.GetLog(want.Index, &got); err != nil {
			return "", err
		}
		if got.Index != want.Index || got.Term != want.Term || got.Type != want.Type || !bytes.Equal(got.Data, want.Data) || got.Extensions != nil {
			different = fmt.Sprintf("entry %d", want.Index)
		}
	}
	term, err := s.GetUint64([]byte("CurrentTerm"))
	if err != nil {
		return "", err
	}
	vote, err := s.Get([]byte("LastVoteCand"))
	if err != nil {
		return "", err
	}
	if term != 7 || string(vote) != "10.0.0.1:7090" {
		different = fmt.Sprintf("term %d, vote %q", term, vote)
	}
	return different, nil
}

func TestDamagedRaftLogIsRefusedOrUnchanged(t *testing.T) {
	sound := t.TempDir()
	fillLog(t, sound)
	if different, err := readLog(sound); err != nil || different != "" {
		t.Fatalf("the log reads back as %s, %v", different, err)
	}
	data, err := os.ReadFile(filepath.Join(sound, "raft.db"))
	if err != nil {
		t.Fatal(err)
	}
	meta := latestBoltMeta(data)
	latest := int(meta.pageSize) * int(meta.txid%2) // a damaged one is a torn one: the transaction before counts
	rng := rand.New(rand.NewPCG(3, 4))
	rounds := 300
	if testing.Short() {
		rounds = 60
	}
	refused := 0
	for i := range rounds {
		at, bit := rng.IntN(len(data)), byte(1)<<rng.IntN(8)
		if i%2 == 0 { // heads of pages and elements
			at = min(at/int(meta.pageSize)*int(meta.pageSize)+rng.IntN(96), len(data)-1)
		}
		if at >= latest && at < latest+int(meta.pageSize) {
			continue
		}
		dir := t.TempDir()
		broken := slices.Clone(data)
		broken[at] ^= bit
		if err := os.WriteFile(filepath.Join(dir, "raft.db"), broken, 0o600); err != nil {
			t.Fatal(err)
		}
		different, err := readLog(dir)
		if different != "" {
			t.Errorf("bit %08b of byte %d (page %d, byte %d): %s", bit, at, at/int(meta.pageSize), at%int(meta.pageSize), different)
		}
		if err != nil {
			refused++
		}
		os.RemoveAll(dir)
	}
	t.Logf("%d of %d damages refused, the others changed nothing that is read", refused, rounds)
	if refused == 0 {
		t.Error("no damage was noticed")
	}
}

// What a release without sums has stored is read as it is.
func TestRaftLogWithoutSumsIsRead(t *testing.T) {
	dir := t.TempDir()
	plain, err := openBolt(dir)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(plain.StoreLogs(testLog(61, 190)), plain.SetUint64([]byte("CurrentTerm"), 7), plain.Set([]byte("LastVoteCand"), []byte("10.0.0.1:7090")), plain.Close())
	if err != nil {
		t.Fatal(err)
	}
	if different, err := readLog(dir); err != nil || different != "" {
		t.Fatalf("the log reads back as %s, %v", different, err)
	}
}

func FuzzBoltCheck(f *testing.F) {
	dir := f.TempDir()
	s, err := openBolt(dir)
	if err != nil {
		f.Fatal(err)
	}
	if err := errors.Join(s.StoreLogs(testLog(1, 9)), s.SetUint64([]byte("CurrentTerm"), 7), s.Close()); err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "raft.db"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(0, []byte{1})
	f.Add(8192, []byte{2, 0, 0})
	f.Fuzz(func(t *testing.T, at int, patch []byte) {
		broken := slices.Clone(data)
		if at < 0 || at+len(patch) > len(broken) {
			return
		}
		copy(broken[at:], patch)
		meta := latestBoltMeta(broken)
		if meta == nil || meta.pageSize <= 0 {
			return
		}
		c := boltChecker{file: bytes.NewReader(broken), meta: *meta, seen: map[uint64]bool{}}
		_ = c.tree(meta.root, nil, 0)
	})
}
