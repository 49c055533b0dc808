package admin

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/bursar-dev/bursar/client"
)

// assignmentsSchema is the schema of PUT …/assignments, with everything that occurs in ours.
func assignmentsSchema() (huma.Registry, *huma.Schema) {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	describeCadence(registry)
	return registry, registry.Schema(reflect.TypeFor[client.Assignments](), true, "")
}

func TestCheckDocumentNamesTheWrongField(t *testing.T) {
	item := func(fields string) string { return `{"assignments":[` + fields + `]}` }
	const good = `"entity":"a","capability":"tokens","limit":1,"cadence":"month"`
	deep := strings.Repeat(`{"x":`, 40) + "1" + strings.Repeat("}", 40)
	for _, c := range []struct {
		name, body string
		fields     []string // wanted, in order
	}{
		{"good", item(`{` + good + `}`), nil},
		{"what the server answers can be sent back", item(`{` + good + `,"id":"asg_1","created_at":"2026-11-22T10:00:00.123Z","scope":[]}`), nil},
		{"optional fields may be null", item(`{` + good + `,"scope":null,"mode":null,"alert_thresholds":null}`), nil},
		{"unlimited", item(`{"entity":"a","capability":"tokens","limit":null,"cadence":"month"}`), nil},
		{"cadence object", item(`{"entity":"a","capability":"tokens","limit":0,"cadence":{"every":"month","timezone":"Europe/Berlin","anchor":"2026-01-15T00:00:00Z"}}`), nil},
		{"the largest limit", item(`{"entity":"a","capability":"tokens","limit":1000000000000000000,"cadence":"day"}`), nil},

		{"empty", ``, []string{"body"}},
		{"not JSON", `{"assignments":[}`, []string{"body"}},
		{"cut off", `{"assignments":[{"entity":"a"`, []string{"body"}},
		{"two documents", `{"assignments":[]}{}`, []string{"body"}},
		{"not UTF-8", "{\"\xff\":1}", []string{"body"}},
		{"nested without end", deep, []string{"body"}},
		{"a list", `[]`, []string{"body", "assignments"}[:1]},
		{"null", `null`, []string{"body"}},
		{"missing list", `{}`, []string{"assignments"}},
		{"list of another type", `{"assignments":{}}`, []string{"assignments"}},
		{"empty list", item(``), []string{"assignments"}},
		{"unknown field", item(`{` + good + `,"limits":5}`), []string{"assignments[0].limits"}},
		{"unknown field with an object", item(`{` + good + `,"x":{"y":[1,{"z":2}]}}`), []string{"assignments[0].x"}},
		{"other case", item(`{"Entity":"a","capability":"tokens","limit":1,"cadence":"month"}`), []string{"assignments[0].Entity", "assignments[0].entity"}},
		{"given twice", item(`{` + good + `,"limit":2}`), []string{"assignments[0].limit"}},
		{"missing limit", item(`{"entity":"a","capability":"tokens","cadence":"month"}`), []string{"assignments[0].limit"}},
		{"string limit", item(`{"entity":"a","capability":"tokens","limit":"5","cadence":"month"}`), []string{"assignments[0].limit"}},
		{"fraction", item(`{"entity":"a","capability":"tokens","limit":1.5,"cadence":"month"}`), []string{"assignments[0].limit"}},
		{"whole fraction", item(`{"entity":"a","capability":"tokens","limit":1.0,"cadence":"month"}`), []string{"assignments[0].limit"}},
		{"exponent", item(`{"entity":"a","capability":"tokens","limit":1e3,"cadence":"month"}`), []string{"assignments[0].limit"}},
		{"negative", item(`{"entity":"a","capability":"tokens","limit":-1,"cadence":"month"}`), []string{"assignments[0].limit"}},
		{"over 10^18", item(`{"entity":"a","capability":"tokens","limit":1000000000000000001,"cadence":"month"}`), []string{"assignments[0].limit"}},
		{"over int64", item(`{"entity":"a","capability":"tokens","limit":9223372036854775808,"cadence":"month"}`), []string{"assignments[0].limit"}},
		{"far below int64", item(`{"entity":"a","capability":"tokens","limit":-99999999999999999999,"cadence":"month"}`), []string{"assignments[0].limit"}},
		{"null entity", item(`{"entity":null,"capability":"tokens","limit":1,"cadence":"month"}`), []string{"assignments[0].entity"}},
		{"no cadence like that", item(`{"entity":"a","capability":"tokens","limit":1,"cadence":"fortnight"}`), []string{"assignments[0].cadence"}},
		{"cadence of another type", item(`{"entity":"a","capability":"tokens","limit":1,"cadence":5}`), []string{"assignments[0].cadence"}},
		{"cadence with an unknown field", item(`{"entity":"a","capability":"tokens","limit":1,"cadence":{"every":"day","zone":"UTC"}}`), []string{"assignments[0].cadence.zone"}},
		{"anchor that is no time", item(`{"entity":"a","capability":"tokens","limit":1,"cadence":{"every":"day","anchor":"yesterday"}}`), []string{"assignments[0].cadence.anchor"}},
		{"no enforcement like that", item(`{` + good + `,"enforcement":"firm"}`), []string{"assignments[0].enforcement"}},
		{"scope of another type", item(`{` + good + `,"scope":"eu"}`), []string{"assignments[0].scope"}},
		{"scope with a number", item(`{` + good + `,"scope":["eu",3]}`), []string{"assignments[0].scope[1]"}},
		{"the fourth item", item(`{` + good + `},{` + good + `},{` + good + `},{` + good + `,"mode":1}`), []string{"assignments[3].mode"}},
		{"several", item(`{"entity":1,"capability":2,"limit":3,"cadence":"month"}`), []string{"assignments[0].entity", "assignments[0].capability"}},
	} {
		registry, schema := assignmentsSchema()
		var got []string
		for _, f := range checkDocument(registry, schema, []byte(c.body)) {
			got = append(got, f.Field)
			if f.Message == "" {
				t.Errorf("%s: %s has no message", c.name, f.Field)
			}
		}
		if diff := cmp.Diff(c.fields, got); diff != "" {
			t.Errorf("%s: %s\n%s", c.name, c.body, diff)
		}
	}
}

func TestCheckDocumentBoundsItsAnswer(t *testing.T) {
	registry, schema := assignmentsSchema()
	items := strings.TrimSuffix(strings.Repeat(`{"a":1},`, 1001), ",")
	fields := checkDocument(registry, schema, []byte(`{"assignments":[`+items+`]}`))
	if p := invalidFields(fields); len(p.Errors) != maxFieldErrors {
		t.Errorf("%d fields named, want %d", len(p.Errors), maxFieldErrors)
	}
}

// Whatever passes the check must decode, into what it says.
func FuzzCheckDocument(f *testing.F) {
	f.Add(`{"assignments":[{"entity":"a","capability":"tokens","limit":1,"cadence":"month"}]}`)
	f.Add(`{"assignments":[{"entity":"a","capability":"tokens","limit":null,"cadence":{"every":"day","anchor":"2026-01-15T00:00:00Z"},"scope":["x"],"alert_thresholds":[50]}]}`)
	f.Add(`{"assignments":[{"limit":-0,"limit":1e9}]}`)
	f.Add(`{"assignments":[]}`)
	f.Add("\x00")
	registry, schema := assignmentsSchema()
	f.Fuzz(func(t *testing.T, body string) {
		if len(checkDocument(registry, schema, []byte(body))) > 0 {
			return
		}
		var v client.Assignments
		if err := json.Unmarshal([]byte(body), &v); err != nil {
			t.Fatalf("accepted, but does not decode: %v", err)
		}
		for i, x := range v.Assignments {
			if x.Limit != nil && (*x.Limit < 0 || *x.Limit > 1e18) {
				t.Errorf("assignments[%d].limit = %d was accepted", i, *x.Limit)
			}
			if x.Cadence.Every == "" {
				t.Errorf("assignments[%d].cadence.every is empty", i)
			}
		}
	})
}

func TestCheckIntegerAtTheEdges(t *testing.T) {
	low, high := 0.0, 10.0
	bounded := &huma.Schema{Type: huma.TypeInteger, Minimum: &low, Maximum: &high}
	free := &huma.Schema{Type: huma.TypeInteger}
	for _, c := range []struct {
		s    *huma.Schema
		text string
		ok   bool
	}{
		{bounded, "0", true}, {bounded, "10", true}, {bounded, "-1", false}, {bounded, "11", false},
		{bounded, "", false}, {bounded, "ten", false}, {bounded, "0x5", false}, {bounded, "5.0", false}, {bounded, "5e0", false},
		{free, "9223372036854775807", true}, {free, "9223372036854775808", false}, {free, "-9223372036854775808", true}, {free, "-9223372036854775809", false},
	} {
		if m := checkInteger(c.s, c.text); (m == "") != c.ok {
			t.Errorf("checkInteger(%s, %q) = %q, want ok %v", fmt.Sprint(c.s == bounded), c.text, m, c.ok)
		}
	}
}
