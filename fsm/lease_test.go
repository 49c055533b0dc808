package fsm

import "testing"

// threeLive is a roster of three live nodes led by node 1, with S = 5.
var threeLive = Roster{Shares: 5, Leader: 1, Live: []NodeNum{1, 2, 3}}

func TestAsk(t *testing.T) {
	born := []Lease{{1, 100}, {2, 100}, {3, 100}}
	for _, tc := range []struct {
		name                   string
		b                      Budget
		n                      NodeNum
		needMin, needSum, want int64
		grant                  int64
		short                  bool
		holder                 NodeNum
		leases                 string
	}{
		{"a wish within the reserve", Budget{Limit: 1000, Leases: born, Avg: 1}, 2, 0, 0, 40, 40, false, 0, "1:100 2:140 3:100"},
		{"a wish beyond it is cut to free/2S", Budget{Limit: 1000, Leases: born, Avg: 1}, 2, 0, 0, 400, 70, false, 0, "1:100 2:170 3:100"},
		{"a wish of nothing still gets left/16S", Budget{Limit: 1000, Leases: born, Avg: 1}, 2, 0, 0, 0, 12, false, 0, "1:100 2:112 3:100"},
		{"8 average lines are always worth giving", Budget{Limit: 10_000, Avg: 200}, 2, 0, 0, 5000, 1600, false, 0, "2:1600"},
		{"waiting calls get what they need", Budget{Limit: 1000, Leases: born, Avg: 1}, 2, 5, 300, 0, 300, false, 0, "1:100 2:400 3:100"},
		{"all that is free, if that lets one in", Budget{Limit: 1000, Leases: born, Avg: 1}, 2, 5, 900, 0, 700, false, 0, "1:100 2:800 3:100"},
		{"short: nothing, and the leader holds", Budget{Limit: 1000, Leases: born, Avg: 1}, 2, 701, 701, 0, 0, true, 1, "1:450 2:100 3:100"},
		{"under the threshold: granted, and the leader holds", Budget{Limit: 1280, Used: 1275, Avg: 1}, 2, 1, 1, 0, 1, false, 1, "1:4 2:1"},
		{"another node holds", Budget{Limit: 1000, Holder: 1, Gen: 1, Avg: 1}, 2, 1, 1, 0, 0, true, 1, ""},
		{"the holder gets half of what is free", Budget{Limit: 1000, Holder: 2, Gen: 1, Avg: 1}, 2, 1, 1, 0, 500, false, 2, "2:500"},
		{"or four average lines", Budget{Limit: 1000, Holder: 2, Gen: 1, Avg: 200}, 2, 0, 0, 0, 800, false, 2, "2:800"},
		{"overcommitted: nothing", Budget{Limit: 100, Leases: born, Avg: 1}, 2, 1, 1, 0, 0, true, 1, "1:100 2:100 3:100"},
		{"limit 0", Budget{Limit: 0}, 2, 1, 1, 0, 0, true, 1, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := tc.b
			b.Leased = true
			grant, short := b.ask(tc.n, tc.needMin, tc.needSum, tc.want, threeLive)
			if grant != tc.grant || short != tc.short || b.Holder != tc.holder || leases(b) != tc.leases {
				t.Errorf("granted %d, short %v, holder %d, leases %q; want %d, %v, %d, %q",
					grant, short, b.Holder, leases(b), tc.grant, tc.short, tc.holder, tc.leases)
			}
		})
	}
}

// LEASES.md, trap 1: what decides on consolidation only falls within a period, so
// slices that come and go cannot make it alternate; and leaving asks for twice what entering does.
func TestConsolidationDoesNotOscillate(t *testing.T) {
	b := Budget{Limit: 1280, Leased: true}
	flaps := 0
	for i := range 1275 {
		holder := b.Holder
		n := NodeNum(i%3 + 1)
		b.ask(n, 1, 1, 50, threeLive)
		if i%2 == 0 {
			b.release(n, b.LeaseOf(n), false, b.Gen) // the pool breathes
		}
		b.exit(b.Holder, b.Gen, threeLive)
		b.settle(Line{Amount: 1, Drawn: 1, On: n}, threeLive)
		if b.Holder != holder {
			flaps++
		}
	}
	if flaps != 1 || b.Holder == 0 {
		t.Errorf("the holder changed %d times and is %d at last, want once and somebody", flaps, b.Holder)
	}
}

func TestExitNeedsTwiceTheThreshold(t *testing.T) {
	for _, tc := range []struct {
		used   int64
		n      NodeNum
		gen    uint32
		leaves bool
	}{
		{1260, 1, 3, true},  // left 20 = 2·max(1280/128, 2·5·1)
		{1261, 1, 3, false}, // one less
		{1260, 2, 3, false}, // not the holder
		{1260, 1, 2, false}, // of an older generation
	} {
		b := Budget{Limit: 1280, Used: tc.used, Avg: 1, Leased: true, Holder: 1, Gen: 3, Acks: []NodeNum{1}}
		b.exit(tc.n, tc.gen, threeLive)
		if left := b.Holder == 0; left != tc.leaves || left != (b.Gen == 4) || left != (b.Acks == nil) {
			t.Errorf("%+v: holder %d, gen %d, acks %v", tc, b.Holder, b.Gen, b.Acks)
		}
	}
}

func TestOverdraftConsolidatesAndHoldsBackTheExcess(t *testing.T) {
	b := Budget{Limit: 300, Leased: true, Leases: []Lease{{1, 100}, {2, 100}, {3, 100}}}
	b.settle(Line{Amount: 50, Drawn: 20, On: 2}, threeLive)
	if b.Used != 50 || leases(b) != "1:100 2:80 3:100" || b.Excess() != 30 || b.Holder != 1 {
		t.Errorf("used %d, leases %s, excess %d, holder %d", b.Used, leases(b), b.Excess(), b.Holder)
	}
}

func TestMeanLineIsNeverZeroOnceSet(t *testing.T) {
	var b Budget
	for _, a := range []int64{0, 1, 1, 0, 160, 1, 1} {
		b.meanLine(a)
	}
	if b.Avg != 10 { // 1, then 1 + 159/16 = 10; −9/16 rounds to 0
		t.Errorf("mean %d, want 10", b.Avg)
	}
	for range 100 {
		b.meanLine(1)
	}
	if b.Avg < 1 {
		t.Errorf("mean %d, want at least 1", b.Avg)
	}
}

func TestBudgetHandedOutKeepsItsSlices(t *testing.T) {
	b := Budget{Limit: 1000, Leased: true, Leases: []Lease{{1, 100}, {2, 100}}, Holder: 1, Gen: 1, Acks: []NodeNum{1}}
	seen := b
	b.release(2, 50, true, 1)
	b.addLease(1, 5)
	b.addLease(2, -50)
	b.unack(1)
	if leases(seen) != "1:100 2:100" || len(seen.Acks) != 1 {
		t.Errorf("a copy changed with the original: %s, acks %v", leases(seen), seen.Acks)
	}
}
