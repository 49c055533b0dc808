package enforcer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/bursar-dev/bursar/fsm"
)

var quiet = slog.New(slog.DiscardHandler)

// journalTest is a journal on a directory that can be opened again.
type journalTest struct {
	t      *testing.T
	fs     vfs.FS
	dir    string
	kernel kernelBoot
	now    atomic.Int64
}

func newJournalTest(t *testing.T, fs vfs.FS) *journalTest {
	jt := &journalTest{t: t, fs: fs, dir: t.TempDir(), kernel: kernelBoot{1}}
	jt.now.Store(time.Now().UnixMilli())
	return jt
}

func (jt *journalTest) tryOpen() (*journal, journalState, error) {
	return openJournal(jt.fs, jt.dir, quiet, jt.kernel, jt.now.Load)
}

func (jt *journalTest) open() (*journal, journalState) {
	jt.t.Helper()
	j, s, err := jt.tryOpen()
	if err != nil {
		jt.t.Fatal(err)
	}
	jt.t.Cleanup(func() { j.stop() })
	return j, s
}

// crash leaves the journal as kill -9 would.
func (jt *journalTest) crash(j *journal) {
	j.stop()
	if j.file != nil {
		_ = j.file.Close()
	}
}

func testID(n int) resID { return resID{node: 3, boot: 7, seq: uint64(n), rnd: 0xfeed} }

func testHolds(n int) []heldLine {
	h := make([]heldLine, n)
	for i := range h {
		h[i] = heldLine{Budget: fsm.BudgetKey{Assignment: uint64(i + 1), Start: 1000}, Amount: int64(100 + i), On: 3}
	}
	return h
}

func mustDo(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func ids(rs []reservationRecord) (seqs []int) {
	for _, r := range rs {
		seqs = append(seqs, int(r.ID.seq))
	}
	return seqs
}

func TestJournalRestoresWhatStands(t *testing.T) {
	jt := newJournalTest(t, vfs.Default)
	j, s := jt.open()
	if len(s.Reservations)+len(s.Draws) != 0 || s.Rebooted {
		t.Fatalf("a new journal holds %+v", s)
	}
	exp := jt.now.Load() + 60_000
	draw := drawRecord{ID: testID(20), Origin: 2, Boot: 9, Holds: []Hold{{Budget: fsm.BudgetKey{Assignment: 4, Start: -5}, Amount: 7}}}
	mustDo(t,
		j.reserve(testID(1), "acme", exp, testHolds(2)),
		j.reserve(testID(2), "acme", exp, testHolds(1)),
		j.reserve(testID(3), "", exp, nil),
		j.extend(testID(2), exp+5000),
		j.end(testID(1)),
		j.extend(testID(1), exp), // of one that has ended: nothing
		j.end(testID(99)),
		j.draw(draw),
		j.draw(drawRecord{ID: testID(21), Origin: 1}),
		j.endDraw(testID(21)),
		j.reserve(testID(3), "acme", exp, testHolds(3)), // replaces
	)
	want := []reservationRecord{
		{ID: testID(2), Account: "acme", Expires: exp + 5000, Holds: testHolds(1)},
		{ID: testID(3), Account: "acme", Expires: exp, Holds: testHolds(3)},
	}
	// Thrice: what a restart compacts must read the same at the next one.
	for range 3 {
		jt.crash(j)
		if j, s = jt.open(); s.Rebooted {
			t.Fatal("a crash of the process was taken for one of the machine")
		}
		allow := cmp.AllowUnexported(resID{})
		if d := cmp.Diff(want, s.Reservations, allow) + cmp.Diff([]drawRecord{draw}, s.Draws, allow); d != "" {
			t.Fatal(d)
		}
	}
}

// onlySegment returns the path of the one segment in dir.
func onlySegment(t *testing.T, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil || len(names) != 1 {
		t.Fatalf("segments %v, %v", names, err)
	}
	return names[0]
}

func TestJournalToleratesATornTailAtEveryByte(t *testing.T) {
	notShort(t)
	jt := newJournalTest(t, vfs.Default)
	j, _ := jt.open()
	var ends []int64
	for i := range 4 {
		mustDo(t, j.reserve(testID(i), "acme", jt.now.Load()+1000, testHolds(i)))
		ends = append(ends, j.size)
	}
	jt.crash(j)
	segment := onlySegment(t, jt.dir)
	whole, err := os.ReadFile(segment)
	mustDo(t, err)
	base, err := os.ReadFile(j.basePath(0))
	mustDo(t, err)
	mark, err := os.ReadFile(filepath.Join(jt.dir, markName))
	mustDo(t, err)
	for n := range len(whole) + 1 {
		jt.dir = t.TempDir()
		mustDo(t,
			os.WriteFile(filepath.Join(jt.dir, filepath.Base(j.basePath(0))), base, 0o644),
			os.WriteFile(filepath.Join(jt.dir, markName), mark, 0o644),
			os.WriteFile(filepath.Join(jt.dir, filepath.Base(segment)), whole[:n], 0o644))
		want := 0
		for want < len(ends) && ends[want] <= int64(n) {
			want++
		}
		j, s := jt.open()
		if len(s.Reservations) != want {
			t.Fatalf("cut at byte %d of %d: %d reservations, want %d", n, len(whole), len(s.Reservations), want)
		}
		j.stop()
	}
}

func TestJournalRefusesDamageBeforeTheEnd(t *testing.T) {
	jt := newJournalTest(t, vfs.Default)
	j, _ := jt.open()
	for i := range 3 {
		mustDo(t, j.reserve(testID(i), "acme", jt.now.Load()+1000, testHolds(1)))
	}
	lastRecord := j.size - int64(len(appendReserve(nil, testID(2), "acme", 0, testHolds(1))))
	jt.crash(j)
	segment := onlySegment(t, jt.dir)
	whole, err := os.ReadFile(segment)
	mustDo(t, err)
	for at := range lastRecord {
		bad := slices.Clone(whole)
		bad[at] ^= 0x10
		mustDo(t, os.WriteFile(segment, bad, 0o644))
		j, _, err := jt.tryOpen()
		if err == nil {
			j.stop()
		}
		if !errors.Is(err, errJournalDamaged) {
			t.Fatalf("byte %d of %d damaged: %v", at, len(whole), err)
		}
	}
	t.Run("after a crash of the machine it is a hole", func(t *testing.T) {
		bad := slices.Clone(whole)
		bad[segmentHeaderBytes+9] ^= 1
		mustDo(t, os.WriteFile(segment, bad, 0o644))
		jt.kernel = kernelBoot{2}
		if _, s := jt.open(); !s.Rebooted {
			t.Fatal("not reported")
		}
	})
}

func TestJournalRefusesADamagedWatermarkAndAStrangeName(t *testing.T) {
	jt := newJournalTest(t, vfs.Default)
	j, _ := jt.open()
	jt.crash(j)
	strange := filepath.Join(jt.dir, "x.journal")
	mustDo(t, os.WriteFile(strange, nil, 0o644))
	if _, _, err := jt.tryOpen(); !errors.Is(err, errJournalDamaged) || !strings.Contains(err.Error(), "x.journal") {
		t.Fatal(err)
	}
	mustDo(t, os.Remove(strange), os.WriteFile(filepath.Join(jt.dir, markName), make([]byte, 12), 0o644))
	if _, _, err := jt.tryOpen(); !errors.Is(err, errJournalDamaged) || !strings.Contains(err.Error(), markName) {
		t.Fatal(err)
	}
}

func TestJournalRefusesAMissingSegment(t *testing.T) {
	jt := newJournalTest(t, vfs.Default)
	j, _ := jt.open()
	for i := range 3 {
		mustDo(t, j.reserve(testID(i), "acme", jt.now.Load()+1000, nil))
		mustDo(t, j.rotate())
	}
	jt.crash(j)
	mustDo(t, os.Remove(j.segmentPath(2)))
	if _, _, err := jt.tryOpen(); !errors.Is(err, errJournalDamaged) || !strings.Contains(err.Error(), "segment 2 is missing") {
		t.Fatal(err)
	}
}

func TestJournalDoubtLastsUntilTheWatermark(t *testing.T) {
	jt := newJournalTest(t, vfs.Default)
	j, _ := jt.open()
	exp := jt.now.Load() + 60_000
	mustDo(t, j.reserve(testID(1), "acme", exp, nil))
	jt.crash(j)

	jt.kernel = kernelBoot{2}
	j, s := jt.open()
	if !s.Rebooted || s.Watermark < exp {
		t.Fatalf("after a crash of the machine: %+v, want a watermark of at least %d", s, exp)
	}
	first := s.Watermark
	jt.crash(j) // of the process, with the doubt still standing
	if j, s = jt.open(); !s.Rebooted || s.Watermark != first {
		t.Fatalf("a second start forgot the doubt: %+v", s)
	}
	mustDo(t, j.closeClean())
	if j, s = jt.open(); !s.Rebooted || s.Watermark != first {
		t.Fatalf("an orderly stop forgot the doubt: %+v", s)
	}
	jt.crash(j)
	jt.now.Store(first)
	if _, s = jt.open(); s.Rebooted {
		t.Fatalf("the doubt outlives the watermark: %+v", s)
	}
}

func TestJournalKnowsAnOrderlyStop(t *testing.T) {
	for _, tc := range []struct {
		name     string
		clean    bool
		unknown  bool // a system that does not tell its boot
		rebooted bool
	}{
		{"stopped, then rebooted", true, false, false},
		{"crashed, then rebooted", false, false, true},
		{"stopped, boot unknown", true, true, false},
		{"crashed, boot unknown", false, true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			jt := newJournalTest(t, vfs.Default)
			if tc.unknown {
				jt.kernel = kernelBoot{}
			}
			j, _ := jt.open()
			mustDo(t, j.reserve(testID(1), "acme", jt.now.Load()+1000, nil))
			if tc.clean {
				mustDo(t, j.closeClean())
			} else {
				jt.crash(j)
			}
			if !tc.unknown {
				jt.kernel = kernelBoot{2}
			}
			_, s := jt.open()
			if s.Rebooted != tc.rebooted || len(s.Reservations) != 1 {
				t.Fatalf("%+v", s)
			}
		})
	}
}

func TestJournalWithoutItsWatermarkAssumesTheLongestLife(t *testing.T) {
	jt := newJournalTest(t, vfs.Default)
	j, _ := jt.open()
	jt.crash(j)
	mustDo(t, os.Remove(filepath.Join(jt.dir, markName)))
	if _, s := jt.open(); !s.Rebooted || s.Watermark < jt.now.Load()+fsm.MaxReserveTTL.Milliseconds() {
		t.Fatalf("%+v", s)
	}
}

func TestWatermarkIsDurableBeforeAReservationIsAnswered(t *testing.T) {
	jt := newJournalTest(t, vfs.Default)
	j, _ := jt.open()
	var wg sync.WaitGroup
	for c := range 4 {
		wg.Go(func() {
			for i := range 20 {
				exp := jt.now.Load() + int64(c+1)*int64(i)*3_000
				if err := j.reserve(testID(c*100+i), "acme", exp, nil); err != nil {
					t.Error(err)
				}
				if mark, _, err := readWatermark(jt.fs, jt.dir); err != nil || mark < exp {
					t.Errorf("expiry %d given out, watermark on disk %d, %v", exp, mark, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestJournalStaysBounded(t *testing.T) {
	jt := newJournalTest(t, vfs.Default)
	j, _ := jt.open()
	holds := testHolds(fsm.MaxCallAssignments) // 13 KB a record
	const n, keep = 12_000, 100                // 160 MB, of which 1.3 MB stand
	for i := range n {
		mustDo(t, j.reserve(testID(i), "acme", jt.now.Load()+1000, holds))
		if i >= keep {
			mustDo(t, j.end(testID(i-keep)))
		}
	}
	// Compacting runs beside the writing and has caught up soon after it.
	deadline := time.Now().Add(20 * time.Second)
	for dirBytes(t, jt.dir) > compactBytes+2*segmentBytes {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes, of which %d stand", dirBytes(t, jt.dir), keep*len(holds)*reserveHoldBytes)
		}
		time.Sleep(10 * time.Millisecond)
	}
	jt.crash(j)
	_, s := jt.open()
	if got := ids(s.Reservations); len(got) != keep || got[0] != n-keep || got[keep-1] != n-1 {
		t.Fatalf("%d stand, want the last %d", len(got), keep)
	}
	if size := dirBytes(t, jt.dir); size > 2<<20 {
		t.Fatalf("%d bytes after a restart", size)
	}
}

func TestJournalRefusesToGrowWithoutBound(t *testing.T) {
	jt := newJournalTest(t, vfs.Default)
	j, _ := jt.open()
	mustDo(t, j.end(testID(1)))
	j.sealed.mu.Lock()
	j.sealed.bytes = maxSealedFactor * compactBytes
	j.sealed.mu.Unlock()
	mustDo(t, j.end(testID(1))) // the present segment has room
	j.size = segmentBytes
	if err := j.end(testID(1)); !errors.Is(err, errJournalFull) {
		t.Fatal(err)
	}
}

func dirBytes(t *testing.T, dir string) (sum int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	mustDo(t, err)
	for _, e := range entries {
		if info, err := e.Info(); err == nil { // it may be compacted away meanwhile
			sum += info.Size()
		}
	}
	return sum
}

// failingFS fails writes to journal segments while broken is set, after letting
// through half of the bytes, as a full disk does.
type failingFS struct {
	vfs.FS
	broken atomic.Bool
	delay  time.Duration
}

var errNoSpace = errors.New("no space left on device")

func (f *failingFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	if err != nil || !strings.HasSuffix(name, segmentSuffix) {
		return file, err
	}
	return &failingFile{File: file, fs: f}, nil
}

type failingFile struct {
	vfs.File
	fs *failingFS
}

func (f *failingFile) Write(b []byte) (int, error) {
	time.Sleep(f.fs.delay)
	if f.fs.broken.Load() {
		n, _ := f.File.Write(b[:len(b)/2])
		return n, errNoSpace
	}
	return f.File.Write(b)
}

func TestJournalReturnsWriteErrorsAndHeals(t *testing.T) {
	fs := &failingFS{FS: vfs.Default}
	jt := newJournalTest(t, fs)
	j, _ := jt.open()
	exp := jt.now.Load() + 1000
	mustDo(t, j.reserve(testID(1), "acme", exp, testHolds(2)), j.health())

	fs.broken.Store(true)
	for range 3 {
		if err := j.reserve(testID(2), "acme", exp, testHolds(2)); !errors.Is(err, errNoSpace) {
			t.Fatalf("a reservation that is not in the journal was answered: %v", err)
		}
	}
	if err := j.health(); !errors.Is(err, errNoSpace) {
		t.Fatal("not reported:", err)
	}
	fs.broken.Store(false)
	deadline := time.Now().Add(10 * time.Second)
	for j.health() != nil { // by itself: nobody reserves on a node that is out of service
		if time.Now().After(deadline) {
			t.Fatal("does not heal:", j.health())
		}
		time.Sleep(10 * time.Millisecond)
	}
	mustDo(t, j.reserve(testID(3), "acme", exp, testHolds(2)))
	jt.crash(j)
	_, s := jt.open()
	if d := cmp.Diff([]int{1, 3}, ids(s.Reservations)); d != "" {
		t.Fatal(d)
	}
}

func TestJournalCallersShareWrites(t *testing.T) {
	fs := &failingFS{FS: vfs.Default}
	jt := newJournalTest(t, fs)
	j, _ := jt.open()
	exp := jt.now.Load() + 1000
	mustDo(t, j.reserve(testID(0), "acme", exp, nil))
	fs.delay = 5 * time.Millisecond
	const callers = 64
	before := j.writes.Load()
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			if err := j.reserve(testID(i+1), "acme", exp, testHolds(1)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := j.writes.Load() - before; n > callers/4 {
		t.Errorf("%d callers took %d writes", callers, n)
	}
	jt.crash(j)
	if _, s := jt.open(); len(s.Reservations) != callers+1 {
		t.Errorf("%d of %d reservations came back", len(s.Reservations), callers+1)
	}
}

func TestJournalRefusesAfterClosing(t *testing.T) {
	jt := newJournalTest(t, vfs.Default)
	j, _ := jt.open()
	mustDo(t, j.closeClean(), j.closeClean())
	if err := j.end(testID(1)); !errors.Is(err, errJournalClosed) {
		t.Fatal(err)
	}
}

func TestJournalReserveDoesNotAllocate(t *testing.T) {
	jt := newJournalTest(t, vfs.Default)
	j, _ := jt.open()
	exp, holds, i := jt.now.Load()+1000, testHolds(4), 0
	if n := testing.AllocsPerRun(1000, func() {
		i++
		_ = j.reserve(testID(i), "acme", exp, holds)
		_ = j.end(testID(i))
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestEndsShareWrites(t *testing.T) {
	jt := newJournalTest(t, vfs.Default)
	j, _ := jt.open()
	var all []resID
	for i := range 2*maxEnds + 1 {
		all = append(all, testID(i))
		mustDo(t, j.reserve(testID(i), "acme", jt.now.Load()+60_000, testHolds(1)))
	}
	writes, records := j.writes.Load(), j.records.Load()
	mustDo(t, j.end(all[1:]...), j.end())
	if w, r := j.writes.Load()-writes, j.records.Load()-records; w != 2 || r != 2*maxEnds {
		t.Errorf("%d ends took %d writes and counted as %d records, want 2 writes", 2*maxEnds, w, r)
	}
	jt.crash(j)
	if _, s := jt.open(); len(s.Reservations) != 1 || s.Reservations[0].ID != all[0] {
		t.Errorf("%v are left", ids(s.Reservations))
	}
}

// What a batch of entries settles are this node's reservations and draws of others', in any order.
func TestSettledReservationsAndDrawsEndInTheJournal(t *testing.T) {
	jt := newJournalTest(t, vfs.Default)
	j, _ := jt.open()
	e := &Enforcer{c: Config{Node: testID(0).node}, log: quiet, journal: j}
	var all []resID
	for i := range 8 {
		id := testID(i)
		if i%3 == 0 {
			id.node++
			mustDo(t, j.draw(drawRecord{ID: id, Origin: id.node}))
		} else {
			mustDo(t, j.reserve(id, "acme", jt.now.Load()+60_000, testHolds(1)))
		}
		all = append(all, id)
	}
	e.journalEnded(all)
	jt.crash(j)
	if _, s := jt.open(); len(s.Reservations)+len(s.Draws) != 0 {
		t.Errorf("left are reservations %v and draws %v", s.Reservations, s.Draws)
	}
}

// BenchmarkJournal is what a reservation of ten budgets and its end cost in the journal, the
// kernel's part of write(2) included: one caller, and as many as there are processors.
func BenchmarkJournal(b *testing.B) {
	dir := b.TempDir()
	j, _, err := openJournal(vfs.Default, dir, quiet, kernelBoot{1}, unixMillis)
	mustDo(b, err)
	defer j.stop()
	exp, holds := unixMillis()+60_000, testHolds(10)
	var seq atomic.Uint64
	reserve := func() {
		id := testID(int(seq.Add(1)))
		if err := errors.Join(j.reserve(id, "acme", exp, holds), j.end(id)); err != nil {
			b.Error(err)
		}
	}
	b.Run("callers=1", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			reserve()
		}
	})
	b.Run("callers=many", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				reserve()
			}
		})
	})
}

func unixMillis() int64 { return time.Now().UnixMilli() }

const journalChildDir = "BURSAR_TEST_JOURNAL_CHILD"

// TestJournalChild is the process that TestJournalSurvivesKill kills.
func TestJournalChild(t *testing.T) {
	dir := os.Getenv(journalChildDir)
	if dir == "" {
		t.Skip("started by TestJournalSurvivesKill")
	}
	j, _, err := openJournal(vfs.Default, dir, quiet, thisKernelBoot(), unixMillis)
	mustDo(t, err)
	var wg sync.WaitGroup
	for c := range 4 {
		wg.Go(func() {
			for i := c; ; i += 4 {
				if err := j.reserve(testID(i), "acme", time.Now().UnixMilli()+60_000, testHolds(3)); err != nil {
					fmt.Println("failed", err)
					return
				}
				fmt.Println(i) // one write: the line is out before the next reservation begins
			}
		})
	}
	wg.Wait()
}

func TestJournalSurvivesKill(t *testing.T) {
	dir := t.TempDir()
	answered := map[int]bool{}
	for range 3 {
		child := exec.Command(os.Args[0], "-test.run=^TestJournalChild$", "-test.v=false")
		child.Env = append(os.Environ(), journalChildDir+"="+dir)
		out, err := child.StdoutPipe()
		mustDo(t, err, child.Start())
		lines := bufio.NewScanner(out)
		for n := 0; n < 2000 && lines.Scan(); n++ {
			var id int
			if _, err := fmt.Sscan(lines.Text(), &id); err != nil {
				t.Fatal(lines.Text())
			}
			answered[id] = true
		}
		mustDo(t, child.Process.Kill())
		rest, _ := io.ReadAll(out)
		for _, line := range bytes.Split(rest, []byte("\n")) {
			var id int
			if n, _ := fmt.Sscan(string(line), &id); n == 1 {
				answered[id] = true
			}
		}
		_ = child.Wait()
	}
	j, s, err := openJournal(vfs.Default, dir, quiet, thisKernelBoot(), unixMillis)
	mustDo(t, err)
	defer j.stop()
	if s.Rebooted {
		t.Error("a killed process was taken for a crash of the machine")
	}
	for _, r := range s.Reservations {
		delete(answered, int(r.ID.seq))
	}
	if len(answered) > 0 {
		t.Errorf("%d reservations were answered and are gone", len(answered))
	}
}

func FuzzJournalRecords(f *testing.F) {
	var good []byte
	good = appendReserve(good, testID(1), "acme", 1000, testHolds(2))
	good = appendDraw(good, drawRecord{ID: testID(2), Origin: 1, Boot: 2, Holds: []Hold{{Amount: 3}}})
	good = appendExtend(good, testID(1), 2000)
	f.Add(good)
	f.Add(appendClean(appendEnd(appendEnd(nil, recordEnd, testID(1)), recordEndDraw, testID(2))))
	f.Add(good[:len(good)-3])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		live := newLiveRecords()
		n, err := readRecords(data, live)
		if n < 0 || n > len(data) {
			t.Fatalf("read %d of %d bytes", n, len(data))
		}
		if err == nil && n < len(data) {
			_ = recordFollows(data[n+1:])
		}
		// What was read, written and read again, is the same.
		var again []byte
		rs, ds := live.sorted()
		for _, r := range rs {
			again = appendReserve(again, r.ID, r.Account, r.Expires, r.Holds)
		}
		for _, d := range ds {
			again = appendDraw(again, d)
		}
		second := newLiveRecords()
		if m, err := readRecords(again, second); err != nil || m != len(again) {
			t.Fatalf("what was written cannot be read: %d of %d, %v", m, len(again), err)
		}
		rs2, ds2 := second.sorted()
		allow := cmp.AllowUnexported(resID{})
		if d := cmp.Diff(rs, rs2, allow) + cmp.Diff(ds, ds2, allow); d != "" {
			t.Fatal(d)
		}
	})
}

// stuckFS is a disk on which bases of the journal hang while it is told to.
type stuckFS struct {
	vfs.FS
	gate    atomic.Pointer[chan struct{}] // nil: nothing hangs
	reached chan struct{}
}

func (fs *stuckFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if gate := fs.gate.Load(); gate != nil && strings.Contains(fs.PathBase(name), "base") {
		select {
		case fs.reached <- struct{}{}:
		default:
		}
		<-*gate
	}
	return fs.FS.Create(name, category)
}

// With a million live reservations compacting takes seconds. Reservations that need the watermark moved are made meanwhile.
func TestReservationsDoNotWaitForCompacting(t *testing.T) {
	fs := &stuckFS{FS: vfs.NewMem(), reached: make(chan struct{}, 1)}
	jt := newJournalTest(t, fs)
	j, _ := jt.open()
	gate := make(chan struct{})
	defer close(gate) // before the journal is closed, which waits
	fs.gate.Store(&gate)
	expires, holds := jt.now.Load()+60_000, testHolds(fsm.MaxCallAssignments)
	n := 0
	for compacting := false; !compacting; n++ {
		mustDo(t, j.reserve(testID(n), "acme", expires, holds))
		select {
		case <-fs.reached:
			compacting = true
		default:
		}
	}
	for i := range 3 {
		later := j.mark.durable.Load() + time.Hour.Milliseconds()
		if err := j.reserve(testID(n+i), "acme", later, holds); err != nil {
			t.Fatalf("while the journal is compacted: %v", err)
		}
	}
}

// The watermark is written while the journal is compacted, so its unfinished file is nobody else's to remove.
func TestCompactingLeavesTheWatermarkAlone(t *testing.T) {
	jt := newJournalTest(t, vfs.NewMem())
	j, _ := jt.open()
	for _, name := range []string{markName + tmpSuffix, "0000000000000001" + baseSuffix + tmpSuffix} {
		f, err := jt.fs.Create(jt.fs.PathJoin(jt.dir, name), vfs.WriteCategoryUnspecified)
		mustDo(t, err, f.Close())
	}
	mustDo(t, j.removeVoid(0))
	names, err := jt.fs.List(jt.dir)
	mustDo(t, err)
	if all := strings.Join(names, " "); !strings.Contains(all, markName+tmpSuffix) || strings.Contains(all, baseSuffix+tmpSuffix) {
		t.Errorf("left are %s", all)
	}
}
