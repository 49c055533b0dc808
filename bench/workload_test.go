package bench

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestWorkloadIsMadeInItsProportions(t *testing.T) {
	for text, want := range map[string]map[Kind]int{
		"check":             {KindCheck: 10_000},
		"ingest":            {KindIngest: 10_000},
		Mixed:               {KindCheck: 6_000, KindReserve: 3_000, KindIngest: 1_000},
		"reserve=1,check=3": {KindCheck: 7_500, KindReserve: 2_500},
	} {
		var w Workload
		if err := w.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		got := map[Kind]int{}
		rng := rand.New(rand.NewPCG(1, 1))
		for range 10_000 {
			got[w.pick(rng)]++
		}
		for _, k := range kinds {
			if d := got[k] - want[k]; d < -300 || d > 300 || want[k] == 0 && got[k] != 0 {
				t.Errorf("%s: %d × %s, want about %d", text, got[k], k, want[k])
			}
		}
	}
	for _, text := range []string{"", "none", "check=0", "check=x", "check,check", "check=1001", "check,"} {
		if err := new(Workload).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken for a workload", text)
		}
	}
}

func TestSkewsChooseCallersAsTheySay(t *testing.T) {
	const callers, calls = 1000, 100_000
	for _, c := range []struct {
		skew     Skew
		busiest  [2]int // calls of the ten busiest callers, at least and at most
		distinct int    // callers seen, at least
	}{
		{SkewUniform, [2]int{1_000, 1_500}, 990},
		{SkewZipf, [2]int{20_000, 80_000}, 300},
		{SkewHot, [2]int{89_000, 91_500}, 990},
	} {
		p := newPicker(c.skew, callers, time.Second, 1, 0)
		count := make([]int, callers)
		for range calls {
			count[p.pick(0)]++
		}
		top, distinct := topSum(count, 10)
		if top < c.busiest[0] || top > c.busiest[1] || distinct < c.distinct {
			t.Errorf("%s: the ten busiest make %d calls, %d callers make any; want %v and at least %d", c.skew, top, distinct, c.busiest, c.distinct)
		}
	}
}

func topSum(count []int, n int) (sum, distinct int) {
	left := append([]int(nil), count...)
	for range n {
		most := 0
		for i, c := range left {
			if c > left[most] {
				most = i
			}
		}
		sum += left[most]
		left[most] = 0
	}
	for _, c := range count {
		if c > 0 {
			distinct++
		}
	}
	return sum, distinct
}

func TestAHotSpotMoves(t *testing.T) {
	p := newPicker(SkewHot, 1000, time.Second, 1, 0)
	busiest := func(after time.Duration) int {
		count := map[int]int{}
		best := 0
		for range 10_000 {
			i := p.pick(after) / 10
			if count[i]++; count[i] > count[best] {
				best = i
			}
		}
		return best
	}
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{0, 0}, {999 * time.Millisecond, 0}, {time.Second, 1}, {99 * time.Second, 99}, {100 * time.Second, 0}} {
		if got := busiest(c.after); got != c.want {
			t.Errorf("after %s the hot spot is at %d, want %d", c.after, got, c.want)
		}
	}
}

func TestOneCallerIsEnoughForEverySkew(t *testing.T) {
	for _, s := range []Skew{SkewUniform, SkewZipf, SkewHot} {
		if got := newPicker(s, 1, time.Second, 1, 0).pick(time.Hour); got != 0 {
			t.Errorf("%s chose caller %d of one", s, got)
		}
	}
}
