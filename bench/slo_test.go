package bench

import (
	"strings"
	"testing"
	"time"
)

func TestObjectiveIsMetOrMissedTermByTerm(t *testing.T) {
	local := 0.995
	r := &LoadReport{
		Calls: 1000, Errors: 1, Refused: 5, PerSecond: 4999.5, Local: &local,
		Kinds: []KindReport{{Kind: KindCheck, Latency: Quantiles{Count: 900}}, {Kind: KindIngest, Latency: Quantiles{Count: 100}}},
	}
	at := func(k Kind, percent float64) time.Duration {
		if k == KindIngest {
			return 20 * time.Millisecond
		}
		return time.Duration(percent * float64(time.Millisecond) / 100)
	}
	for _, c := range []struct {
		term string
		met  bool
	}{
		{"p99=20ms", true}, {"p99=19ms", false}, {"check.p99=1ms", true}, {"check.p99.9=998us", false}, {"check.p99.9=999us", true},
		{"ingest.p50=20ms", true}, {"reserve.p50=1h", false}, // there were none
		{"errors=0", false}, {"errors=1", true}, {"errors=0.1%", true}, {"errors=0.09%", false},
		{"refused=4", false}, {"refused=0.5%", true}, {"rate=4999", true}, {"rate=5000", false}, {"local=99%", true}, {"local=99.6%", false},
	} {
		var s SLO
		if err := s.UnmarshalText([]byte(c.term)); err != nil {
			t.Fatal(err)
		}
		if v := s.judge(r, at); len(v) != 1 || v[0].Met != c.met {
			t.Errorf("%s: %+v, want met %v", c.term, v, c.met)
		}
	}
	r.Local = nil
	var s SLO
	if err := s.UnmarshalText([]byte("local=0%,errors=1")); err != nil {
		t.Fatal(err)
	}
	if v := s.judge(r, at); v[0].Met || !v[1].Met {
		t.Errorf("%+v: what cannot be read is not met", v)
	}
}

func TestObjectiveIsRefusedWhenItIsNone(t *testing.T) {
	for _, text := range []string{"p99", "p=1ms", "p0=1ms", "p101=1ms", "p99=1", "p99=-1ms", "errors=", "errors=-1", "errors=x", "rate=5%", "local=1",
		"local=NaN%", "nobody.p99=1ms", "p99=1ms,", "latency=1ms", "pNaN=1ms"} {
		var s SLO
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken for %+v", text, s.terms)
		}
	}
}

func FuzzSLO(f *testing.F) {
	f.Add("p99=1ms,p99.9=5ms,errors=0")
	f.Add("check.p50=1ms,local=99%,rate=10,refused=0.1%")
	f.Fuzz(func(t *testing.T, text string) {
		var s SLO
		if s.UnmarshalText([]byte(text)) != nil {
			return
		}
		if want := 1 + strings.Count(text, ","); text != "" && len(s.terms) != want {
			t.Fatalf("%q: %d terms, want %d", text, len(s.terms), want)
		}
		s.judge(&LoadReport{}, func(Kind, float64) time.Duration { return 0 })
	})
}
