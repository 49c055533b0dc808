package enforcer

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestJournalIsMapped(t *testing.T) {
	jt := newJournalTest(t, vfs.Default)
	j, _ := jt.open()
	mustDo(t, j.end(testID(1)))
	if _, ok := j.file.(*mappedFile); !ok {
		t.Fatalf("the segment is a %T", j.file)
	}
	length := func(seq uint64) int64 {
		info, err := os.Stat(j.segmentPath(seq))
		mustDo(t, err)
		return info.Size()
	}
	if n := length(j.seq); n != growBytes {
		t.Errorf("a new segment has %d bytes", n)
	}
	size := j.size
	mustDo(t, j.rotate(0, jt.now.Load()))
	if n := length(j.seq - 1); n != size {
		t.Errorf("a sealed segment has %d bytes, want %d", n, size)
	}
	size = j.size + recordHeaderBytes
	mustDo(t, j.closeClean())
	if n := length(j.seq); n != size {
		t.Errorf("after an orderly stop the segment has %d bytes, want %d", n, size)
	}
}

// What a fault interrupts has stored every record before the one it came in.
func TestRecordsAreStoredOneAfterTheOther(t *testing.T) {
	page := os.Getpagesize()
	f, unmapped, err := createSegment(vfs.Default, t.TempDir()+"/x", appendSegmentHeader(nil, segmentHeader{seq: 1}), int64(2*page), 0)
	mustDo(t, err, unmapped)
	mapped := f.(*mappedFile)
	defer mapped.abandon()
	mustDo(t, mapped.grow(2*page))
	mustDo(t, os.Truncate(mapped.path(t), int64(page))) // the second page cannot be had
	var records []byte
	count := 0
	for ; len(records) < page; count++ {
		records = appendReserve(records, testID(count), "acme", 1000, testHolds(3))
	}
	err = mapped.write(records, segmentHeaderBytes, 0)
	var fault interface{ Addr() uintptr }
	if !errors.As(err, &fault) {
		t.Fatal("stored to a page that is not there:", err)
	}
	live := newLiveRecords()
	n, err := readRecords(mapped.mem[segmentHeaderBytes:page], live)
	if one := len(records) / count; err != nil || n < page-segmentHeaderBytes-one-10 {
		t.Errorf("the %d bytes up to the fault hold %d bytes of whole records, %v", page-segmentHeaderBytes, n, err)
	}
}

// path is what the file is called.
func (f *mappedFile) path(t *testing.T) string {
	name, ok := f.file.(interface{ Name() string })
	if !ok {
		t.Fatalf("a %T has no name", f.file)
	}
	return name.Name()
}

func TestOtherPanicsAreNoFaults(t *testing.T) {
	defer func() {
		if r := recover(); r == nil {
			t.Error("a record that is longer than its group was taken for a fault")
		}
	}()
	record := appendEnd(nil, recordEnd, testID(1))
	_ = storeRecords(make([]byte, 100), record[:len(record)-1])
}

// Somebody cuts the file short behind the journal's back.
func TestJournalSurvivesAFaultInItsFile(t *testing.T) {
	for _, tc := range []struct {
		name  string
		later time.Duration
		store bool // the fault comes in a store, and not before
	}{
		{"in a store", 0, true},
		{"as pages are touched again", 2 * touchedFor * time.Millisecond, false},
		{"after the clock went back", -time.Minute, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			jt := newJournalTest(t, vfs.Default)
			j, _ := jt.open()
			exp := jt.now.Load() + 60_000
			mustDo(t, j.reserve(testID(1), "acme", exp, testHolds(2)))
			whole, err := os.ReadFile(j.segmentPath(j.seq))
			mustDo(t, err, os.Truncate(j.segmentPath(j.seq), 0))
			jt.now.Add(tc.later.Milliseconds())
			err = j.reserve(testID(2), "acme", exp, testHolds(2))
			var fault interface{ Addr() uintptr }
			if err == nil || !errors.As(err, &fault) && !errors.Is(err, unix.EFAULT) {
				t.Fatal("a reservation was answered that is nowhere:", err)
			}
			if errors.As(err, &fault) != tc.store {
				t.Error("got", err)
			}
			// The next one begins a segment, and says how much of this one counts.
			mustDo(t, j.reserve(testID(3), "acme", exp, testHolds(2)), j.health())
			jt.crash(j)
			if _, _, err := jt.tryOpen(); !errors.Is(err, errJournalDamaged) {
				t.Fatal("a file that lost its records was read:", err)
			}
			mustDo(t, os.WriteFile(j.segmentPath(j.seq-1), whole, 0o644))
			if _, s := jt.open(); cmp.Diff([]int{1, 3}, ids(s.Reservations)) != "" {
				t.Errorf("%v came back", ids(s.Reservations))
			}
		})
	}
}

func TestAMappedJournalReturnsWriteErrorsAndHeals(t *testing.T) {
	fs := &failingFS{FS: vfs.Default, mapped: true}
	jt := newJournalTest(t, fs)
	j, _ := jt.open()
	exp := jt.now.Load() + 60_000
	mustDo(t, j.reserve(testID(0), "acme", exp, testHolds(100)))
	if _, ok := j.file.(*mappedFile); !ok {
		t.Fatalf("the segment is a %T", j.file)
	}
	fs.broken.Store(true)
	stands := 1
	for ; ; stands++ { // what the file is long enough for needs no more of the disk
		if err := j.reserve(testID(stands), "acme", exp, testHolds(100)); errors.Is(err, errNoSpace) {
			break
		} else if mustDo(t, err); j.size > growBytes {
			t.Fatalf("%d bytes are stored in a file of %d", j.size, growBytes)
		}
	}
	if err := j.reserve(testID(stands), "acme", exp, testHolds(100)); !errors.Is(err, errNoSpace) || !errors.Is(j.health(), errNoSpace) {
		t.Errorf("on a full disk: %v, health %v", err, j.health())
	}
	fs.broken.Store(false)
	mustDo(t, j.reserve(testID(stands), "acme", exp, testHolds(100)), j.health())
	jt.crash(j)
	if _, s := jt.open(); len(s.Reservations) != stands+1 {
		t.Errorf("%d of %d reservations came back", len(s.Reservations), stands+1)
	}
}

// noMapFS has files of a device that cannot be mapped.
type noMapFS struct {
	vfs.FS
	device *os.File
}

func (f noMapFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	return noMapFile{file, f.device}, err
}

type noMapFile struct {
	vfs.File
	device *os.File
}

func (f noMapFile) Fd() uintptr { return f.device.Fd() }

func TestJournalIsWrittenWhereItCannotBeMapped(t *testing.T) {
	device, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	mustDo(t, err)
	defer device.Close()
	jt := newJournalTest(t, noMapFS{vfs.Default, device})
	j, _ := jt.open()
	exp := jt.now.Load() + 60_000
	for i := range 3 {
		mustDo(t, j.reserve(testID(i), "acme", exp, testHolds(2)))
	}
	if _, ok := j.file.(writtenFile); !ok || !j.slow {
		t.Errorf("the segment is a %T, told: %t", j.file, j.slow)
	}
	jt.crash(j)
	if _, s := jt.open(); len(s.Reservations) != 3 {
		t.Errorf("%v came back", ids(s.Reservations))
	}
}
