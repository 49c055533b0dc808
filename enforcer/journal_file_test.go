package enforcer

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// bothForms are file systems whose segments are mapped (on Linux) and written with write(2).
var bothForms = []struct {
	name string
	fs   vfs.FS
}{{"mapped", vfs.Default}, {"written", unmappedFS{vfs.Default}}}

func inBothForms(t *testing.T, test func(*testing.T, vfs.FS)) {
	for _, form := range bothForms {
		t.Run(form.name, func(t *testing.T) { test(t, form.fs) })
	}
}

// unmappedFS creates files that cannot be mapped.
type unmappedFS struct{ vfs.FS }

func (f unmappedFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	return unmappedFile{file}, err
}

type unmappedFile struct{ vfs.File }

func (unmappedFile) Fd() uintptr { return vfs.InvalidFd }

// A kill within a store leaves any bytes of the last record behind, and zeros for the rest.
func TestATornRecordHidesNoneBeforeIt(t *testing.T) {
	const whole = 3
	var before []byte
	for i := range whole {
		before = appendReserve(before, testID(i), "acme", 1000, testHolds(i))
	}
	last := appendReserve(nil, testID(whole), "acme", 1000, testHolds(4))
	zeros := append(appendSegmentHeader(nil, segmentHeader{seq: 1}), before...)
	zeros = append(zeros, make([]byte, len(last)+5000)...)
	at := segmentHeaderBytes + len(before)
	rng := rand.New(rand.NewPCG(1, 1))
	for how, stored := range map[string]func(cut, i int) bool{
		"first bytes first": func(cut, i int) bool { return i < cut },
		"last bytes first":  func(cut, i int) bool { return i >= len(last)-cut },
		"both ends first":   func(cut, i int) bool { return i < cut/2 || i >= len(last)-(cut-cut/2) },
		"inside first":      func(cut, i int) bool { return i >= (len(last)-cut)/2 && i < (len(last)-cut)/2+cut },
		"in words":          func(cut, i int) bool { return i/8*8 < cut && i/8%2 == 0 },
		"any":               func(int, int) bool { return rng.IntN(2) == 0 },
	} {
		for cut := range len(last) {
			data, used, same := append([]byte(nil), zeros...), 0, true
			for i, b := range last {
				if stored(cut, i) && b != 0 {
					data[at+i], used = b, i+1
				}
				same = same && data[at+i] == b
			}
			live := newLiveRecords()
			err := readSegment(data, true, -1, true, live)
			want, torn := whole, used
			if same { // what is missing are zeros: the record is there
				want, torn = whole+1, 0
			}
			if err != nil || len(live.reservations) != want || live.torn != torn {
				t.Fatalf("%s, %d of %d bytes: %v, %d reservations and %d torn bytes, want %d and %d",
					how, cut, len(last), err, len(live.reservations), live.torn, want, torn)
			}
		}
	}
}

func TestARecordThatEndsInZerosIsWhole(t *testing.T) {
	record := appendReserve(nil, testID(1), "acme", 1000, nil) // the count of its holds is its end
	if n := len(record); record[n-1]+record[n-2] != 0 {
		t.Fatalf("it ends in %x", record[n-2:])
	}
	data := append(appendSegmentHeader(nil, segmentHeader{seq: 1}), record...)
	for _, unused := range []int{0, 1, 5000} {
		live := newLiveRecords()
		err := readSegment(append(data[:len(data):len(data)], make([]byte, unused)...), true, -1, true, live)
		if err != nil || len(live.reservations) != 1 || live.torn != 0 {
			t.Errorf("%d zeros: %v, %d reservations, %d torn bytes", unused, err, len(live.reservations), live.torn)
		}
	}
	// It is found behind damage, too.
	broken := append(append([]byte(nil), record...), record...)
	broken[len(record)-3] ^= 1
	if !recordFollows(append(broken[1:], make([]byte, 100)...)) {
		t.Error("not found behind a damaged one")
	}
}

// stuckFile is a segment on a disk that does not answer.
type stuckFile struct {
	segmentFile
	began, end chan struct{}
}

func (f *stuckFile) write(records []byte, at, now int64) error {
	close(f.began)
	<-f.end
	return f.segmentFile.write(records, at, now)
}

func TestJournalSaysThatItsDiskIsStuck(t *testing.T) {
	jt := newJournalTest(t, vfs.Default)
	j, _ := jt.open()
	mustDo(t, j.end(testID(1)), j.health())
	stuck := &stuckFile{j.file, make(chan struct{}), make(chan struct{})}
	j.file = stuck
	ended := make(chan error)
	go func() { ended <- j.end(testID(1)) }()
	<-stuck.began
	mustDo(t, j.health())
	jt.now.Add(maxJournalWrite.Milliseconds() + 1)
	if err := j.health(); err != errJournalStalled {
		t.Errorf("a write that takes longer than %v: %v", maxJournalWrite, err)
	}
	j.file = stuck.segmentFile
	close(stuck.end)
	mustDo(t, <-ended, j.health())
}

// A group that does not fit in what is left, and one that fits in no segment.
func TestJournalBeginsASegmentWhereAGroupDoesNotFit(t *testing.T) {
	inBothForms(t, func(t *testing.T, fs vfs.FS) {
		jt := newJournalTest(t, fs)
		j, _ := jt.open()
		group := func(first, n int) []byte {
			var b []byte
			for i := range n {
				b = appendReserve(b, testID(first+i), "acme", time.Now().UnixMilli()+60_000, testHolds(500))
			}
			return b
		}
		one := len(group(0, 1))
		many := segmentBytes/one + 10
		for _, g := range []struct{ n, segments int }{{1, 1}, {segmentBytes/one - 1, 1}, {2, 2}, {many, 3}, {1, 4}} {
			j.mu.Lock()
			j.next.buf = group(int(j.records.Load()), g.n)
			mustDo(t, j.commit(g.n))
			if int(j.seq) != g.segments {
				t.Errorf("after a group of %d records %d segments, want %d", g.n, j.seq, g.segments)
			}
		}
		records := int(j.records.Load())
		jt.crash(j)
		if _, s := jt.open(); len(s.Reservations) != records {
			t.Errorf("%d of %d reservations came back", len(s.Reservations), records)
		}
	})
}
