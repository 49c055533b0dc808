package bench

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// SLO is what a load must come to, as "p99=1ms,p99.9=5ms,errors=0". Terms:
//
//	pN=1ms        N percent of the calls within a time, of every kind that is made
//	check.pN=1ms  of one kind (check, reserve, ingest)
//	errors=0      calls that came to nothing, at most; errors=0.1% of all calls
//	refused=0     calls that were decided and not granted, at most; also in percent
//	rate=5000     calls a second, at least
//	local=99%     checks answered from a node's own memory, at least
type SLO struct {
	text  string
	terms []sloTerm
}

// sloTerm is one condition.
type sloTerm struct {
	text    string
	what    string // percentile, errors, refused, rate or local
	kind    Kind   // empty: every one
	percent float64
	within  time.Duration
	limit   float64
	ratio   bool // limit is a share of all calls
}

// UnmarshalText reads the terms.
func (s *SLO) UnmarshalText(b []byte) error {
	*s = SLO{text: string(b)}
	if len(b) == 0 {
		return nil
	}
	for _, text := range strings.Split(s.text, ",") {
		t, err := parseTerm(strings.TrimSpace(text))
		if err != nil {
			return fmt.Errorf("%q: %w", text, err)
		}
		s.terms = append(s.terms, t)
	}
	return nil
}

// String returns it as it was given.
func (s SLO) String() string { return s.text }

const percentile = "percentile"

var errTerm = errors.New("want terms such as p99=1ms, check.p99.9=5ms, errors=0, refused=0.1%, rate=5000 or local=99%")

func parseTerm(text string) (t sloTerm, err error) {
	t.text = text
	name, value, found := strings.Cut(text, "=")
	if !found {
		return t, errTerm
	}
	if kind, rest, ok := strings.Cut(name, ".p"); ok && slices.Contains(kinds, Kind(kind)) {
		t.kind, name = Kind(kind), "p"+rest
	}
	if n, ok := strings.CutPrefix(name, "p"); ok {
		t.what = percentile
		if t.percent, err = strconv.ParseFloat(n, 64); err != nil || !(t.percent > 0 && t.percent <= 100) {
			return t, errors.New("want a percentile of more than 0 and at most 100, such as p99.9")
		}
		if t.within, err = time.ParseDuration(value); err != nil || t.within <= 0 {
			return t, errors.New("want a time such as 1ms")
		}
		return t, nil
	}
	switch t.what = name; name {
	case "errors", "refused", "rate", "local":
	default:
		return t, errTerm
	}
	number, isPercent := strings.CutSuffix(value, "%")
	if t.limit, err = strconv.ParseFloat(number, 64); err != nil || t.limit < 0 || math.IsInf(t.limit, 0) || math.IsNaN(t.limit) {
		return t, errors.New("want a number that is not negative")
	}
	if isPercent {
		t.limit, t.ratio = t.limit/100, true
	}
	if name == "rate" && isPercent || name == "local" && !isPercent {
		return t, errors.New("want rate=5000 calls a second, local=99%")
	}
	return t, nil
}

// Verdict is what came of one term.
type Verdict struct {
	Term string `json:"term"`
	Got  string `json:"got"`
	Met  bool   `json:"met"`
}

// judge holds the terms against a report.
func (s SLO) judge(r *LoadReport, at func(k Kind, percent float64) time.Duration) (all []Verdict) {
	for _, t := range s.terms {
		v := Verdict{Term: t.text}
		switch t.what {
		case percentile:
			v.Met = true
			var got []string
			for _, k := range r.Kinds {
				if t.kind != "" && t.kind != k.Kind {
					continue
				}
				took := at(k.Kind, t.percent)
				got = append(got, fmt.Sprintf("%s %s", k.Kind, took))
				v.Met = v.Met && k.Latency.Count > 0 && took <= t.within
			}
			v.Met = v.Met && len(got) > 0
			v.Got = strings.Join(got, ", ")
		case "errors":
			v.Met, v.Got = t.atMost(r.Errors, r.Calls)
		case "refused":
			v.Met, v.Got = t.atMost(r.Refused, r.Calls)
		case "rate":
			v.Met, v.Got = r.PerSecond >= t.limit, fmt.Sprintf("%.0f", r.PerSecond)
		case "local":
			v.Got = "unknown: the nodes' metrics cannot be read"
			if r.Local != nil {
				v.Met, v.Got = *r.Local >= t.limit, fmt.Sprintf("%.3f %%", 100**r.Local)
			}
		}
		if v.Got == "" {
			v.Got = "no such calls"
		}
		all = append(all, v)
	}
	return all
}

func (t sloTerm) atMost(n, all int64) (met bool, got string) {
	if t.ratio {
		share := float64(n) / float64(max(1, all))
		return all > 0 && share <= t.limit, fmt.Sprintf("%.4f %%", 100*share)
	}
	return all > 0 && float64(n) <= t.limit, strconv.FormatInt(n, 10)
}
