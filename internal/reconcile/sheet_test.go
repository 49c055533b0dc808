package reconcile

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// texts writes a comparison down.
func texts(s *Sheet, allowed *Tolerance) (out []string) {
	lines, totals := s.Lines(allowed)
	for i := range lines {
		l := &lines[i]
		mark := ""
		if !l.Within {
			mark = " !"
		}
		if l.OnlyOurs {
			mark += " only ours"
		}
		if l.OnlyTheirs {
			mark += " only theirs"
		}
		out = append(out, fmt.Sprintf("%s %s %s %s − %s = %s%s %v", s.Days.Label(l.Day), l.Model, l.Capability, l.Ours.Text(0), l.Theirs.Text(0), l.Difference.Text(0), mark, l.OurNames))
	}
	for i := range totals {
		t := &totals[i]
		out = append(out, fmt.Sprintf("total %s %s − %s = %s, %d beyond", t.Capability, t.Ours.Text(0), t.Theirs.Text(0), t.Difference.Text(0), t.Beyond))
	}
	return out
}

func amount(t *testing.T, s string) Amount {
	t.Helper()
	a, err := ParseAmount(s, 0)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

const day0 = int64(1759622400_000) // 2025-10-05

func TestTheSidesAreComparedByDayModelAndCapability(t *testing.T) {
	s := Sheet{Days: utcDays, Names: Names{Aliases: []Alias{{"gpt-4o-2024*", "gpt-4o"}, {"openai/*", "gpt-4o"}}}}
	if _, err := Read(strings.NewReader("date,model,cost,in\n2025-10-05,gpt-4o-2024-08-06,1.000000001,10\n2025-10-05,gpt-4o,0.5,5\n2025-10-07,o1,2,\n2025-10-06,,,\n"),
		&Options{Days: utcDays, Units: options().Units, Map: must(ParseMapping([]string{"date=date", "model=model", "cost=cost", "input_tokens=in"}))}, s.Bill); err != nil {
		t.Fatal(err)
	}
	from, to, ok := s.Span()
	if !ok || from != day0 || to != day0+3*dayMS {
		t.Fatal(from, to, ok)
	}
	add := func(at int64, model, capability string, n int64, decimals int) {
		if err := s.Ours(at, model, capability, n, decimals); err != nil {
			t.Fatal(err)
		}
	}
	add(day0, "openai/gpt-4o", Cost, 1_000_000_000, 9)
	add(day0+dayMS-1, "gpt-4o", Cost, 500_000_000, 9)
	add(day0, "gpt-4o", "input_tokens", 15, 0)
	add(day0+dayMS, "gpt-4o", Cost, 7, 9)         // a day that the bill names without an amount
	add(day0-1, "gpt-4o", Cost, 1, 9)             // before the bill
	add(day0+3*dayMS, "gpt-4o", Cost, 1, 9)       // after it
	add(day0, "gpt-4o", "output_tokens", 1000, 0) // nothing the bill speaks of
	want := []string{
		"2025-10-05 gpt-4o usd 1.5 − 1.500000001 = -0.000000001 ! [gpt-4o openai/gpt-4o]",
		"2025-10-05 gpt-4o input_tokens 15 − 15 = 0 [gpt-4o openai/gpt-4o]",
		"2025-10-06 gpt-4o usd 0.000000007 − 0 = 0.000000007 ! only ours [gpt-4o]",
		"2025-10-07 o1 usd 0 − 2 = -2 ! only theirs []",
		"2025-10-07 o1 input_tokens 0 − 0 = 0 only theirs []",
		"total usd 1.500000007 − 3.500000001 = -1.999999994, 3 beyond",
		"total input_tokens 15 − 15 = 0, 0 beyond",
	}
	if diff := cmp.Diff(want, texts(&s, &Tolerance{})); diff != "" {
		t.Error(diff)
	}
	got := texts(&s, &Tolerance{Cost: amount(t, "0.000000001")})
	if want[0] = strings.Replace(want[0], " !", "", 1); got[0] != want[0] || !strings.Contains(got[2], "!") {
		t.Error(got[0], got[2])
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestWhatIsNotComparedIsCounted(t *testing.T) {
	s := Sheet{Days: utcDays, Names: Names{Only: []string{"gpt-*"}}, From: day0, To: day0 + dayMS}
	o := options()
	if _, err := Read(strings.NewReader(costs), o, s.Bill); err != nil {
		t.Fatal(err)
	}
	s.Ours(day0, "claude", Cost, 5, 9)
	s.Ours(day0+dayMS, "gpt-4o", Cost, 5, 9)
	want := []string{"2025-10-05 gpt-4o-2024-08-06 usd 0 − 0.895886 = -0.895886 ! only theirs []", "total usd 0 − 0.895886 = -0.895886, 1 beyond"}
	if diff := cmp.Diff(want, texts(&s, &Tolerance{})); diff != "" {
		t.Error(diff)
	}
	if l := s.LeftOut(); l.Rows != 1 || l.Cost.Text(0) != "-0.5" {
		t.Errorf("left out: %d rows, %s", l.Rows, l.Cost.Text(0))
	}
}

// A bill whose models are made up cannot take more memory than a sheet may.
func TestASheetIsBounded(t *testing.T) {
	s := Sheet{Days: utcDays}
	cols := []Column{{Capability: Cost}}
	row := Row{Day: day0, Amounts: make([]Amount, 1)}
	for i := range maxCells {
		row.Model = fmt.Sprint(i)
		if err := s.Bill(&row, cols); err != nil {
			t.Fatal(i, err)
		}
	}
	row.Model = "one more"
	if err := s.Bill(&row, cols); err != errTooMany {
		t.Fatal(err)
	}
	if err := s.Ours(day0, "another", Cost, 1, 9); err != errTooMany {
		t.Fatal(err)
	}
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"*", "", true}, {"*", "a/b", true}, {"gpt-*", "gpt-4o", true}, {"gpt-*", "o-gpt-4o", false}, {"*mini", "gpt-4o-mini", true}, {"a*b*c", "aXbYc", true},
		{"a*b*c", "acb", false}, {"a*a", "a", false}, {"gpt-4o", "gpt-4o-mini", false}, {"", "", true}, {"*-*-*", "a-b-c", true}, {"*ab", "aab", true}, {"*", "x", true},
	} {
		if got := matches(c.pattern, c.s); got != c.want {
			t.Errorf("matches(%q, %q) = %v", c.pattern, c.s, got)
		}
	}
}
