package bench

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"
)

// sample is a report of made-up latencies.
func sample(scale int) *LoadReport {
	stats := &kindStats{latency: NewLatency(), decided: map[string]int{"ok": 990, "http_503": 10}}
	for i := range 1000 {
		stats.latency.Record(time.Duration(scale*(i+1)) * time.Microsecond)
	}
	return &LoadReport{
		Schema: loadSchema, Settings: LoadSettings{Workload: "check", Loop: "open", Rate: 100, Duration: 10 * time.Second, Account: "<script>"},
		Calls: 1000, Errors: 10, PerSecond: 100,
		Kinds:   []KindReport{{Kind: KindCheck, PerSecond: 100, Decided: stats.decided, Latency: stats.latency.Quantiles(), Curve: stats.latency.Curve()}},
		Seconds: []Second{{At: 1, Quantiles: stats.latency.Quantiles()}, {At: 2}, {At: 3, Quantiles: stats.latency.Quantiles()}},
		stats:   map[Kind]*kindStats{KindCheck: stats},
	}
}

func TestCurveEndsWhereTheCallsDo(t *testing.T) {
	c := sample(1).Kinds[0].Curve
	if last := c[len(c)-1]; c[0].Percent != 0 || last.Percent < 99.89 || last.Percent > 99.91 || last.Micros != 999 && last.Micros != 1000 {
		t.Errorf("1000 calls: curve from %+v to %+v, want 0 to 99.9 %%", c[0], last)
	}
	if NewLatency().Curve() != nil {
		t.Error("no calls have a curve")
	}
}

func TestPagesNeedNothingFromOutside(t *testing.T) {
	r := sample(1)
	var b bytes.Buffer
	if err := r.WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	if err := Compare(r, sample(2)).WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"http:", "https:", "src=", "NaN", "Inf", "<script>", "ZgotmplZ"} {
		if strings.Contains(b.String(), bad) {
			t.Errorf("a page has %q", bad)
		}
	}
	drawings := regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(b.String(), -1)
	if len(drawings) != 3 {
		t.Fatalf("%d drawings, want 3", len(drawings))
	}
	for _, d := range drawings {
		dec := xml.NewDecoder(strings.NewReader(d))
		paths := 0
		for {
			token, err := dec.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%v in %s", err, d)
			}
			if e, ok := token.(xml.StartElement); ok && e.Name.Local == "path" {
				paths++
			}
		}
		if paths == 0 {
			t.Errorf("a drawing without curves: %s", d)
		}
	}
}

func TestDiffComparesWhatJSONKeeps(t *testing.T) {
	data, err := json.Marshal(sample(1))
	if err != nil {
		t.Fatal(err)
	}
	before, err := ReadLoadReport(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	after := sample(3)
	after.Settings.Rate, after.Settings.Account = 200, "other"
	d := Compare(before, after)
	if len(d.Differ) != 1 || !strings.HasPrefix(d.Differ[0], "Rate: 100, then 200") {
		t.Errorf("differ in %q, want the rate alone", d.Differ)
	}
	for _, r := range d.Rows {
		if strings.HasPrefix(r.What, "check p") && (r.Ratio < 2.98 || r.Ratio > 3.02) {
			t.Errorf("%+v: want a ratio of 3", r)
		}
	}
	if _, err := ReadLoadReport(strings.NewReader(`{"calls":3}`)); err == nil {
		t.Error("something else was taken for a report")
	}
}

func TestGeneratorSaysWhenItWasTheBottleneck(t *testing.T) {
	busy := 0.99
	for _, c := range []struct {
		name string
		g    Generator
		want string
	}{
		{"idle", Generator{CPUs: 2, CPU: 0.3, Lateness: Lateness{Own: Quantiles{P99: 150}}}, ""},
		{"late", Generator{CPUs: 2, CPU: 0.3, Lateness: Lateness{Own: Quantiles{P99: 600}}}, "started calls late"},
		{"busy itself", Generator{CPUs: 2, CPU: 1.8}, "1.8 of 2 processors itself"},
		{"busy machine", Generator{CPUs: 2, CPU: 0.5, MachineBusy: &busy}, "99 % busy"},
		{"others are busy", Generator{CPUs: 2, CPU: 0.1, MachineBusy: &busy}, ""},
	} {
		c.g.judge(time.Millisecond)
		if got := strings.Join(c.g.Bottleneck, " "); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
