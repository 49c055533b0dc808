package reconcile

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const dayMS = 24 * 3_600_000

// utcDays are the days in UTC.
var utcDays = Calendar{Zone: time.UTC, Day: func(at int64) (int64, int64) {
	start := at - ((at%dayMS)+dayMS)%dayMS
	return start, start + dayMS
}}

func options() *Options {
	return &Options{Days: utcDays, Units: func(c string) (int, error) {
		switch c {
		case "input_seconds":
			return 3, nil
		case "nonsense":
			return 0, errors.New("there is no such capability")
		}
		return 0, nil
	}}
}

// readAll reads a bill into texts: line day model amounts.
func readAll(in string, o *Options) (rows []string, m *Mapping, err error) {
	m, err = Read(strings.NewReader(in), o, func(r *Row, cols []Column) error {
		var amounts []string
		for i := range r.Amounts {
			amounts = append(amounts, cols[i].Capability+"="+r.Amounts[i].Text(0))
		}
		empty := ""
		if r.Empty {
			empty = " empty"
		}
		rows = append(rows, fmt.Sprintf("%d %s %s %s%s", r.Line, o.Days.Label(r.Day), r.Model, strings.Join(amounts, " "), empty))
		return nil
	})
	return rows, m, err
}

const costs = "\ufeffstart_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id,organization_id,organization_name\n" +
	"1759622400,1759708800,2025-10-05T00:00:00+00:00,2025-10-06T00:00:00+00:00,0.8958740000000000,usd,\"gpt-4o-2024-08-06, cached input\",proj_1,org,Acme\n" +
	"1759622400,1759708800,2025-10-05T00:00:00+00:00,2025-10-06T00:00:00+00:00,1.2e-05,USD,\"gpt-4o-2024-08-06, output\",proj_2,org,Acme\r\n" +
	"1759708800,1759795200,2025-10-06T00:00:00+00:00,2025-10-07T00:00:00+00:00,,,,,,\n" +
	"1759795200,1759881600,2025-10-07T00:00:00+00:00,2025-10-08T00:00:00+00:00,-0.5,usd,,,org,Acme\n"

func TestOpenAIExportsAreKnownByTheirColumns(t *testing.T) {
	rows, m, err := readAll(costs, options())
	if err != nil || m.Format != "openai-costs" {
		t.Fatal(m, err)
	}
	want := []string{"2 2025-10-05 gpt-4o-2024-08-06 usd=0.895874", "3 2025-10-05 gpt-4o-2024-08-06 usd=0.000012", "4 2025-10-06  usd=0 empty", "5 2025-10-07  usd=-0.5"}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Error(diff)
	}
	const usage = "start_time,end_time,project_id,num_model_requests,model,input_tokens,output_tokens,input_cached_tokens\n" +
		"1759622400,1759622460,proj_1,10.0,gpt-5,59200.0,10646,5760\n"
	rows, m, err = readAll(usage, options())
	if err != nil || m.Format != "openai-usage" {
		t.Fatal(m, err)
	}
	if diff := cmp.Diff([]string{"2 2025-10-05 gpt-5 input_tokens=59200 output_tokens=10646 cached_tokens=5760 requests=10"}, rows); diff != "" {
		t.Error(diff)
	}
	o := options()
	o.Where = []Equal{{"project_id", "proj_2"}}
	if rows, _, err = readAll(costs, o); err != nil || len(rows) != 1 || !strings.HasPrefix(rows[0], "3 ") {
		t.Error(rows, err)
	}
}

func TestColumnsAreMapped(t *testing.T) {
	m, err := ParseMapping([]string{"date=Day", "model=Model", "cost=Charge", "input_tokens=In", "input_seconds=Sec"})
	if err != nil {
		t.Fatal(err)
	}
	o := options()
	o.Map, o.Comma, o.Layout, o.Shift = m, ';', "02.01.2006", 2
	rows, _, err := readAll("Day;Model;Charge;In;Sec\n05.10.2025; gpt ;12.5;7;1.5\n", o)
	if diff := cmp.Diff([]string{"2 2025-10-05 gpt usd=0.125 input_tokens=7 input_seconds=1.5"}, rows); err != nil || diff != "" {
		t.Error(err, diff)
	}
	for text, want := range map[string]string{
		"date": "no mapping", "date=": "no mapping", "model=m": "no column is mapped to date", "date=d": "mapped to an amount",
		"date=d,date=e": "twice", "date=d,cost=c,usd=u": "the same",
	} {
		if _, err := ParseMapping(strings.Split(text, ",")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestBadBillsNameLineColumnAndWhatIsWrong(t *testing.T) {
	const header = "date,model,cost,tokens\n"
	for _, c := range []struct{ in, want string }{
		{"", `it is empty: its first line must name the columns`},
		{"day,model,cost,tokens\n", `line 1: there is no column "date", only "day", "model", "cost", "tokens"`},
		{"date,date,model,cost,tokens\n", `line 1: two columns are called "date"`},
		{header + "2025-10-05,m,1,2\n2025-10-05,m,\"1,50\",2\n", `line 3, column "cost": "1,50" is not a number: digits, with a point and no separators, as 1234.56`},
		{header + "2025-10-05,m,1,2.5\n", `line 2, column "tokens": "2.5" is not a whole number, as tokens are`},
		{header + "2025-10-05,m,1,-2\n", `line 2, column "tokens": "-2" is negative`},
		{header + "5.10.2025,m,1,2\n", `line 2, column "date": "5.10.2025" is neither a date (2026-01-31), nor a moment (2026-01-31T12:00:00Z), nor Unix seconds`},
		{header + "1025-10-05,m,1,2\n", `line 2, column "date": "1025-10-05" lies in the year 1025`},
		{header + "2025-13-05,m,1,2\n", `line 2, column "date": "2025-13-05" is neither a date (2026-01-31), nor a moment (2026-01-31T12:00:00Z), nor Unix seconds`},
		{header + "2025-10-05,\xff,1,2\n", `line 2, column "model": "\xff" is no model's name: valid UTF-8 of at most 256 bytes`},
		{header + "2025-10-05,m,1\n", `line 2: has another number of fields than the first line, 4`},
		{header + "2025-10-05,m,1,2\n\"2025\n-10\"x,m,1,2\n", `line 4: at character 4: extraneous or missing " in quoted-field`},
		{header + "\"" + strings.Repeat("x\n", maxRecord), `line 2: the record has more than 1048576 bytes; is a quote not closed?`},
	} {
		o := options()
		o.Map, _ = ParseMapping([]string{"date=date", "model=model", "cost=cost", "tokens=tokens"})
		rows, _, err := readAll(c.in, o)
		var bad *FormatError
		if !errors.As(err, &bad) || err.Error() != c.want {
			t.Errorf("%.60q: %v\nwant %s (%v)", c.in, err, c.want, rows)
		}
	}
	day := "start_time,end_time,amount_value,amount_currency,line_item\n"
	for in, want := range map[string]string{
		day + "1759622400,1759708800,1,eur,m\n": `line 2, column "amount_currency": "eur" is not usd: amounts of other currencies cannot be compared`,
		day + "1759626000,1759712400,1,usd,m\n": `line 2, column "end_time": "1759712400" is after the day of 1759626000, which is 2025-10-05 in UTC: export by day, or say --timezone`,
		day + "1759626000,1759622400,1,usd,m\n": `line 2, column "end_time": "1759622400" is before the row's beginning, 1759626000`,
		"a,b\n1,2\n":                            `line 1: the columns "a", "b" are of no format that is known (openai-costs, openai-usage): say which is which, as --map date=…,model=…,cost=…`,
	} {
		if _, _, err := readAll(in, options()); err == nil || err.Error() != want {
			t.Errorf("%q: %v\nwant %s", in, err, want)
		}
	}
	o := options()
	o.Map, _ = ParseMapping([]string{"date=a", "nonsense=b"})
	if _, _, err := readAll("a,b\n", o); err == nil || err.Error() != "there is no such capability" {
		t.Error(err)
	}
}

// A bill of any length is read in the memory of a record.
func TestReadingTakesTheMemoryOfARecord(t *testing.T) {
	o := options()
	o.Map, _ = ParseMapping([]string{"date=date", "model=model", "cost=cost"})
	row := "2025-10-05,gpt-4o,0.25\n"
	in := io.MultiReader(strings.NewReader("date,model,cost\n"), io.LimitReader(repeat(row), int64(200_000*len(row))))
	n := 0
	var sum Amount
	if _, err := Read(in, o, func(r *Row, _ []Column) error {
		n++
		sum.Add(&r.Amounts[0])
		return nil
	}); err != nil || n != 200_000 || sum.Text(0) != "50000" {
		t.Fatal(n, sum.Text(0), err)
	}
}

// repeat reads as a text over and over.
type repeat string

func (r repeat) Read(p []byte) (int, error) {
	n := 0
	for n+len(r) <= len(p) {
		n += copy(p[n:], r)
	}
	if n == 0 {
		return 0, io.ErrShortBuffer
	}
	return n, nil
}

func TestDates(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip(err)
	}
	days := Calendar{Zone: berlin, Day: func(at int64) (int64, int64) {
		y, m, d := time.UnixMilli(at).In(berlin).Date()
		return time.Date(y, m, d, 0, 0, 0, 0, berlin).UnixMilli(), time.Date(y, m, d+1, 0, 0, 0, 0, berlin).UnixMilli()
	}}
	for text, want := range map[string]string{
		"2025-10-26": "2025-10-26", "2025-10-25T22:30:00Z": "2025-10-26", "2025-10-26 23:30:00": "2025-10-26", "2025-10-26T23:30:00": "2025-10-26",
		"2025-10-26T22:30:00.5Z": "2025-10-26", "2025-10-25 22:30:00+00:00": "2025-10-26", "1761434999": "2025-10-26", "1761434999.0": "2025-10-26",
	} {
		at, err := days.when(text, "")
		start, _ := days.Day(at)
		if err != nil || days.Label(start) != want {
			t.Errorf("%s: %s, %v; want %s", text, days.Label(start), err, want)
		}
	}
	for _, form := range []string{"DD.MM", "YYYY-MM-DD hh", "DDDD.MM.YYYY", "YYYY"} {
		if l, err := DateLayout(form); err == nil {
			t.Errorf("%s is %s", form, l)
		}
	}
}

// Whatever a file holds, it is read or refused with a place, and read alike with other line ends.
func FuzzRead(f *testing.F) {
	f.Add([]byte(costs), "")
	f.Add([]byte("date,model,cost\n2025-10-05,\"a\nb\",1e-9\n"), "date=date,model=model,cost=cost")
	f.Add([]byte("d;c\n1,2\n"), "date=d,tokens=c")
	f.Fuzz(func(t *testing.T, in []byte, columns string) {
		o := options()
		if columns != "" {
			m, err := ParseMapping(strings.Split(columns, ","))
			if err != nil {
				return
			}
			o.Map = m
		}
		sheet := Sheet{Days: utcDays}
		_, err := Read(strings.NewReader(string(in)), o, sheet.Bill)
		var bad *FormatError
		if err != nil && !errors.As(err, &bad) && err.Error() != "there is no such capability" {
			t.Fatalf("%v is no error of the format's", err)
		}
		lines, totals := sheet.Lines(&Tolerance{})
		sums := map[string]*Amount{}
		for i := range lines {
			if sums[lines[i].Capability] == nil {
				sums[lines[i].Capability] = &Amount{}
			}
			sums[lines[i].Capability].Add(&lines[i].Theirs)
		}
		for i := range totals {
			if s := sums[totals[i].Capability]; s != nil && s.n.Cmp(&totals[i].Theirs.n) != 0 {
				t.Fatalf("total %s, lines add up to %s", totals[i].Theirs.Text(0), s.Text(0))
			}
		}
	})
}
