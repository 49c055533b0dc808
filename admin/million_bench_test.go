package admin

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
	"github.com/bursar-dev/bursar/internal/ledgerfile"
)

// exportHeapMax is how much the heap may grow by while a ledger of any length is exported, bytes.
const exportHeapMax = 200 << 20

// longSizes are the lengths of ledgers that are compared: BURSAR_LONG=1 for those of docs/performance.md.
func longSizes() []int {
	if os.Getenv("BURSAR_LONG") != "" {
		return []int{100_000, 1_000_000}
	}
	return []int{2_000, 20_000}
}

// ledgerReads are the reads whose time must not depend on the ledger's length.
func (l *longLedger) ledgerReads() map[string]string {
	month := l.first.UTC().Format(time.RFC3339)
	end := l.first.AddDate(0, 1, 0).UTC().Format(time.RFC3339)
	middle := l.first.Add(longSpan / 2)
	const ledger, usage = "/v1/accounts/" + longAccount + "/ledger?limit=100", "/v1/accounts/" + longAccount + "/usage?limit=1000&from="
	return map[string]string{
		"page/newest":              ledger,
		"page/of-a-user":           ledger + "&entity=" + user(17),
		"page/of-a-model":          ledger + "&model=gpt-4o",
		"page/user-and-model":      ledger + "&entity=" + team(3) + "&model=gpt-4o",
		"page/an-hour-in-the-past": ledger + "&from=" + middle.UTC().Format(time.RFC3339) + "&to=" + middle.Add(time.Hour).UTC().Format(time.RFC3339),
		"page/oldest":              ledger + "&order=asc",
		"usage/month":              usage + month + "&to=" + end + "&bucket=month",
		"usage/month-by-model":     usage + month + "&to=" + end + "&bucket=month&group_by=model",
		"usage/month-by-entity":    usage + month + "&to=" + end + "&bucket=month&group_by=entity",
		"usage/month-by-day":       usage + month + "&to=" + end + "&bucket=day",
	}
}

// BenchmarkLedger reads pages and sums of ledgers of two lengths over HTTP, in turn, so that both meet the same machine. An
// operation is one read of each; for each, p50 and p99 are reported.
func BenchmarkLedger(b *testing.B) {
	sizes := longSizes()
	var ledgers []*longLedger
	for _, n := range sizes {
		ledgers = append(ledgers, newLongLedger(b, n))
	}
	reads := ledgers[0].ledgerReads()
	for _, name := range slices.Sorted(maps.Keys(reads)) {
		b.Run(name, func(b *testing.B) {
			took := make([][]time.Duration, len(ledgers))
			for b.Loop() {
				for i, l := range ledgers {
					at := time.Now()
					l.must("GET", reads[name], "")
					took[i] = append(took[i], time.Since(at))
				}
			}
			for i, of := range took {
				slices.Sort(of)
				b.ReportMetric(float64(of[len(of)/2])/1e6, fmt.Sprintf("p50-ms/%d", sizes[i]))
				b.ReportMetric(float64(of[len(of)*99/100])/1e6, fmt.Sprintf("p99-ms/%d", sizes[i]))
			}
		})
	}
}

// verifies verifies the ledger without a rest and drafts the statement of its first month, and says how fast.
func (l *longLedger) verifies(t *testing.T) {
	timed := func(what string, f func() (lines uint64)) {
		began, before, lines := time.Now(), liveHeap(), uint64(0)
		peak := heapPeak(func() { lines = f() })
		took := time.Since(began)
		t.Logf("%s: %d lines in %v, %.0f a second, heap %d MiB more at most", what, lines, took.Round(time.Millisecond), float64(lines)/took.Seconds(), (int64(peak)-int64(before))>>20)
	}
	timed("verify", func() uint64 {
		found, err := l.machine.VerifyLedger(t.Context(), longAccount, fsm.VerifyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if !found.Sound() || found.Lines != uint64(l.lines) || found.Sums == 0 || found.UncheckedSums+found.UncheckedBudgets != 0 {
			t.Errorf("the ledger does not verify: %+v", found)
		}
		return found.Lines
	})
	timed("statement", func() uint64 {
		draft, err := l.machine.DraftStatement(t.Context(), longAccount, fsm.StatementQuery{Month: l.first.Format("2006-01")})
		if err != nil {
			t.Fatal(err)
		}
		return draft.Lines.Count
	})
}

// exports exports the ledger in each format and looks at the heap meanwhile, that of server and client together.
func (l *longLedger) exports(t *testing.T) {
	for _, format := range []string{"ndjson", "csv", "parquet"} {
		var sent counter
		before := liveHeap()
		peak := heapPeak(func() {
			var err error
			switch format {
			case "ndjson":
				err = l.api.ExportLedger(t.Context(), longAccount, client.LedgerFilter{OldestFirst: true}, client.NDJSON, &sent)
			case "csv":
				err = l.api.ExportLedger(t.Context(), longAccount, client.LedgerFilter{OldestFirst: true}, client.CSV, &sent)
			default:
				w := ledgerfile.NewWriter(&sent)
				for line, failed := range l.api.StreamLedger(t.Context(), longAccount, client.LedgerFilter{OldestFirst: true}) {
					if err = failed; err == nil {
						err = w.Write(&line)
					}
					if err != nil {
						break
					}
				}
				if err == nil {
					err = w.Close()
				}
			}
			if err != nil {
				t.Fatal(err)
			}
		})
		grown := (int64(peak) - int64(before)) >> 20
		t.Logf("%s of %d lines: %d bytes a line, heap %d MiB more at most", format, l.lines, int64(sent)/int64(l.lines), grown)
		if grown > exportHeapMax>>20 {
			t.Errorf("%s: the heap grows by %d MiB", format, grown)
		}
	}
}

// size says how many bytes a line takes on the disk. It closes the ledger.
func (l *longLedger) size(t *testing.T) {
	if err := l.machine.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Logf("disk: %d bytes a line as written", diskBytes(t, l.dir)/int64(l.lines))
	l.server.Close()
	if err := l.machine.Close(); err != nil {
		t.Fatal(err)
	}
	compactStore(t, l.dir)
	t.Logf("disk: %d bytes a line after a full compaction", diskBytes(t, l.dir)/int64(l.lines))
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// heapObjects is what the heap holds: live, and dead but not yet collected.
func heapObjects() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func liveHeap() uint64 {
	runtime.GC()
	return heapObjects()
}

// heapPeak runs f and returns the most that the heap held meanwhile, looked at every few milliseconds.
func heapPeak(f func()) (peak uint64) {
	stop := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			peak = max(peak, heapObjects())
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	})
	f()
	close(stop)
	watch.Wait()
	return peak
}

// diskBytes adds up the files below dir.
func diskBytes(t *testing.T, dir string) (n int64) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		n += info.Size()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

// quietPebble says nothing of what it replays.
type quietPebble struct{}

func (quietPebble) Infof(string, ...any)           {}
func (quietPebble) Errorf(string, ...any)          {}
func (quietPebble) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }

// compactStore rewrites a closed store in its densest form.
func compactStore(t *testing.T, dir string) {
	t.Helper()
	manifests, err := filepath.Glob(filepath.Join(dir, "*", "MANIFEST-*"))
	if err != nil || len(manifests) == 0 {
		t.Fatalf("no store in %s: %v", dir, err)
	}
	o := &pebble.Options{FormatMajorVersion: pebble.FormatValueSeparation}
	for i := range o.Levels {
		o.Levels[i].BlockSize = 16 << 10 // as the state machine's
	}
	o.Logger = quietPebble{}
	db, err := pebble.Open(filepath.Dir(manifests[0]), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Compact(t.Context(), []byte{0}, []byte{0xff, 0xff}, true); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
