package fsm

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/oklog/ulid/v2"
)

// scaleEntities is how many entities TestAMillionEntities makes, with three
// assignments each. BURSAR_SCALE overrides it.
const scaleEntities = 1_000_000

// TestAMillionEntities loads one account through commands, as the control plane
// makes them, and reports what a replica of it costs: time to load and to open,
// memory, the size of a snapshot and the time to install it, and what pages of lists take.
// It takes minutes and a gigabyte or two.
func TestAMillionEntities(t *testing.T) {
	if os.Getenv("BURSAR_LONG") == "" {
		t.Skip("BURSAR_LONG=1 runs it")
	}
	entities := scaleEntities
	if n, err := strconv.Atoi(os.Getenv("BURSAR_SCALE")); err == nil {
		entities = n
	}
	r := &rig{t: t, fs: vfs.Default, term: 1, now: testStart}
	dir := t.TempDir()
	open := func() time.Duration {
		began := time.Now()
		m, err := Open(dir+"/state", Options{Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		r.m = m
		return time.Since(began)
	}
	base := liveHeap()
	open()
	began := time.Now()
	longest := loadAtScale(r, entities)
	t.Logf("%d entities, %d assignments: loaded in %v, longest command %v", entities, 3*entities, time.Since(began).Round(time.Millisecond), longest)
	heap := liveHeap() - base
	t.Logf("live heap after loading: %d MB, %d bytes an entity with its assignments", heap>>20, heap/int64(entities))
	if err := r.m.Close(); err != nil {
		t.Fatal(err)
	}
	r.m = nil
	t.Logf("opened in %v", open().Round(time.Millisecond))
	heap = liveHeap() - base
	t.Logf("live heap after opening: %d MB, %d bytes an entity with its assignments", heap>>20, heap/int64(entities))
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("taken from the system: %d MB", (m.Sys-m.HeapReleased)>>20)
	reportPages(t, r.m, entities)
	reportSnapshot(t, r.m)
	if err := r.m.Close(); err != nil {
		t.Fatal(err)
	}
}

func liveHeap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// scaleID names the i-th entity: divisions of a thousand teams of ten users each, in no order of id.
func scaleID(i int) string { return fmt.Sprintf("user-%08x", uint32(i)*2654435761) }

// loadAtScale makes the account "big" and returns how long its slowest command took to apply.
func loadAtScale(r *rig, entities int) (longest time.Duration) {
	must := func(b Body) {
		began := time.Now()
		r.must(b)
		longest = max(longest, time.Since(began))
		r.log, r.seen = nil, nil
		r.now += 20
	}
	must(Init{ClusterID: "test", Shares: DefaultShares, MaxStalenessMS: DefaultMaxStaleness.Milliseconds()})
	for i := range 3 {
		must(AdmitNode{Name: fmt.Sprintf("n%d", i+1), Addr: "x"})
		must(BootNode{Node: NodeNum(i + 1), Boot: 1})
	}
	must(PutAccount{ID: "big", Name: "Big"})
	must(PutEntityTypes{Items: []EntityType{{ID: "team"}, {ID: "user"}}})
	for at := 0; at < entities; at += MaxBulk {
		put := PutEntities{Account: "big"}
		for i := at; i < min(at+MaxBulk, entities); i++ {
			e := Entity{ID: scaleID(i), Type: "user", Parent: "big", Name: "User " + strconv.Itoa(i)}
			if i > 0 {
				e.Parent = scaleID((i - 1) / 10)
			}
			put.Items = append(put.Items, e)
		}
		must(put)
	}
	caps := []string{CapRequests, CapTokens, CapUSD}
	cadences := []Every{EveryDay, EveryMonth, EveryMonth}
	for at := 0; at < 3*entities; at += MaxBulk {
		put := PutAssignments{Account: "big"}
		for i := at; i < min(at+MaxBulk, 3*entities); i++ {
			put.Items = append(put.Items, AssignmentPut{Assignment: Assignment{
				ID: "asg_" + ulid.Make().String(), Entity: scaleID(i / 3), Capability: caps[i%3], Limit: int64(1000 + i%1000), Cadence: Cadence{Every: cadences[i%3]},
			}})
		}
		must(put)
	}
	return longest
}

// reportPages times pages of lists and of the tree at places spread over the account.
func reportPages(t *testing.T, m *Machine, entities int) {
	const pages, size = 50, 100
	timed := func(name string, page func(i int) error) {
		began := time.Now()
		for i := range pages {
			if err := page(i * (entities / pages)); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("a page of %s: %v", name, (time.Since(began) / pages).Round(time.Microsecond))
	}
	timed("100 entities", func(i int) error {
		_, _, err := m.ListEntities("big", scaleID(i), size)
		return err
	})
	first, _, err := m.ListAssignments("big", AssignmentFilter{}, "", 1)
	if err != nil {
		t.Fatal(err)
	}
	timed("100 assignments", func(int) error {
		_, _, err := m.ListAssignments("big", AssignmentFilter{}, first[0].ID, size)
		return err
	})
	timed("one entity's assignments", func(i int) error {
		items, _, err := m.ListAssignments("big", AssignmentFilter{Entity: scaleID(i)}, "", size)
		if err == nil && len(items) != 3 {
			err = fmt.Errorf("%d assignments, want 3", len(items))
		}
		return err
	})
}

// reportSnapshot writes a snapshot and installs it in an empty machine.
func reportSnapshot(t *testing.T, m *Machine) {
	stream, err := os.Create(t.TempDir() + "/snapshot")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	began := time.Now()
	if _, err := m.WriteSnapshot(stream); err != nil {
		t.Fatal(err)
	}
	size, err := stream.Seek(0, io.SeekCurrent)
	if err == nil {
		_, err = stream.Seek(0, io.SeekStart)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("snapshot: %d MB written in %v", size>>20, time.Since(began).Round(time.Millisecond))
	fresh, err := Open(t.TempDir()+"/state", Options{Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	if err := fresh.InstallSnapshot(stream); err != nil {
		t.Fatal(err)
	}
	t.Logf("snapshot installed in %v", time.Since(began).Round(time.Millisecond))
	if err := fresh.Close(); err != nil {
		t.Fatal(err)
	}
}
