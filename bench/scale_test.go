package bench

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestAScaleAccountHasThreeBudgetsACaller(t *testing.T) {
	a := newScaleAccount("acme", 1000)
	per := map[string]int{}
	for _, b := range a.budgets {
		per[b.Entity]++
	}
	if len(a.callers) != 1000 || len(a.entities) <= 1000 || len(a.budgets) != 3*1000+len(a.entities)-1000 {
		t.Fatalf("%d callers, %d entities, %d budgets", len(a.callers), len(a.entities), len(a.budgets))
	}
	for _, id := range a.callers {
		if per[id] != 3 {
			t.Fatalf("%s has %d budgets", id, per[id])
		}
	}
}

func TestCallersAreTakenFromAllOverAnAccount(t *testing.T) {
	callers := make([]string, 1000)
	for i := range callers {
		callers[i] = strconv.Itoa(i)
	}
	some := spread(callers, 3)
	if !slices.Equal(some, []string{"0", "333", "666"}) || !slices.Equal(spread(callers, 1000), callers) {
		t.Error(some)
	}
}

func TestScaleRefusesWhatItCannotMeasure(t *testing.T) {
	good := Scale{Entities: 100, Small: 10, Each: time.Second, Rounds: 1, Connections: 1}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Scale){
		"--entities":    func(s *Scale) { s.Entities = 5 },
		"--each":        func(s *Scale) { s.Each = time.Millisecond },
		"--rounds":      func(s *Scale) { s.Rounds = 0 },
		"--connections": func(s *Scale) { s.Connections = 0 },
	} {
		s := good
		change(&s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestScaleReportsWhatItFound(t *testing.T) {
	r := ScaleReport{Entities: 111, Assignments: 311, ReadySeconds: 1.5, Loaded: Memory{Resident: 900 << 20, Anonymous: 800 << 20}}
	r.Large = ScaleSide{Entities: 111, Pages: Pages{Tree: 42}}
	r.Again = ScaleSide{Entities: 10, CheckP99: []int64{7, 8}}
	var b bytes.Buffer
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"111 entities, 311 assignments", "900 MiB resident, 800 MiB", "1.5 s", "7, 8\n", "42\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestThisProcessHasMemoryAndUsesProcessorTime(t *testing.T) {
	m := readMemory(os.Getpid())
	if m == (Memory{}) {
		t.Skip("this system does not say")
	}
	if m.Resident < m.Anonymous || m.Anonymous < 1<<20 || processCPU(os.Getpid()) < 0 {
		t.Errorf("%+v, %v", m, processCPU(os.Getpid()))
	}
}

func TestOverloadCountsWhatWasGrantedAndWhatWasNot(t *testing.T) {
	r := OverloadReport{Workload: "check", Capacity: 1000, Steps: []OverloadStep{{Offered: 4000, Goodput: 990, Overloaded: 3010, Turned: Quantiles{P99: 1234}, Codes: map[string]int{"ok": 990}}}}
	var b bytes.Buffer
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "capacity 1000") || !strings.Contains(b.String(), "3010") || !strings.Contains(b.String(), "1.2") {
		t.Error(b.String())
	}
	o := Overload{Each: time.Second, Steps: []float64{11}}
	if err := o.Validate(); err == nil || !strings.Contains(err.Error(), "--steps") {
		t.Errorf("%v", err)
	}
}
