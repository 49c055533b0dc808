package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
)

// billed is what the provider of the test counts: exact, by day and model.
type billed map[[2]string]*billedSum

type billedSum struct {
	nano   *big.Int
	tokens int64
}

// file writes a bill as OpenAI's costs export, with costs in USD.
func (b billed) file(t *testing.T, zone *time.Location) string {
	t.Helper()
	var out strings.Builder
	out.WriteString("start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id,organization_id,organization_name\n")
	for _, k := range b.keys() {
		day, err := time.ParseInLocation(time.DateOnly, k[0], zone)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%d,%d,%s,,%s,usd,\"%s, input\",proj,org,Acme\n", day.Unix(), day.Unix()+3600, day.Format(time.RFC3339),
			new(big.Rat).SetFrac(b[k].nano, big.NewInt(1e9)).FloatString(9), k[1])
	}
	return written(t, "costs.csv", out.String())
}

// tokens writes a bill of tokens with columns of its own.
func (b billed) tokens(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	out.WriteString("Day;Model;Tokens in\n")
	for _, k := range b.keys() {
		fmt.Fprintf(&out, "%s;%s;%d\n", k[0], k[1], b[k].tokens)
	}
	return written(t, "tokens.csv", out.String())
}

func (b billed) keys() [][2]string {
	return slices.SortedFunc(maps.Keys(b), func(x, y [2]string) int { return slices.Compare(x[:], y[:]) })
}

func written(t *testing.T, name, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// billedEvents are events around midnights of several time zones, many of them a millisecond from one.
func billedEvents(now time.Time, zones []*time.Location) (all []client.Event) {
	random := rand.New(rand.NewPCG(4, 7))
	models := []string{"gpt-4o-2024-08-06", "openai/gpt-4o", "o3"}
	for i := range 300 {
		zone := zones[random.IntN(len(zones))]
		y, m, d := now.AddDate(0, 0, -1-random.IntN(5)).In(zone).Date()
		at := time.Date(y, m, d, 0, 0, 0, 0, zone)
		switch random.IntN(3) {
		case 0:
			at = at.Add(time.Duration(random.IntN(3)-1) * time.Millisecond)
		case 1:
			at = at.Add(time.Duration(random.IntN(7200)-3600) * time.Second)
		default:
			at = at.Add(time.Duration(random.IntN(86_400)) * time.Second)
		}
		all = append(all, client.Event{
			ID: "evt-" + strconv.Itoa(i), Account: testAccount, Entities: []string{"team"}, Model: models[random.IntN(3)], At: at.UTC(),
			Usage: client.Usage{"requests": 1, "input_tokens": random.Int64N(100_000), "usd": random.Int64N(3_000_000_000)},
		})
	}
	return all
}

// The account's hours begin at a quarter to every UTC hour; the provider's days are those of other zones.
// Whatever the zones, the sums are those of the lines.
func TestReconcileIsExactInEveryTimeZone(t *testing.T) {
	notShort(t)
	t.Parallel()
	c := startCluster(t, 1, nil)
	c.put(0, "/v1/entity-types", client.EntityTypes{EntityTypes: []client.EntityType{{ID: "team"}}})
	c.put(0, "/v1/accounts/"+testAccount, client.Account{Name: "Acme", Timezone: "Asia/Kathmandu"})
	c.put(0, "/v1/accounts/"+testAccount+"/entities", client.Entities{Entities: []client.Entity{{ID: "team", Type: "team"}}})
	var zones []*time.Location
	for _, name := range []string{"UTC", "Asia/Kolkata", "Australia/Lord_Howe", "America/New_York", "Asia/Kathmandu"} {
		zone, err := fsm.Location(name)
		if err != nil {
			t.Fatal(err)
		}
		zones = append(zones, zone)
	}
	events := billedEvents(time.Now(), zones)
	for batch := range slices.Chunk(events, 100) {
		if err := c.call(http.MethodPost, "http://"+c.nodes[0].http+"/v1/ingest", map[string]any{"events": batch}, nil); err != nil {
			t.Fatal(err)
		}
	}
	admin := "http://" + c.nodes[0].admin
	bad := client.Event{ID: "evt-bad", Account: testAccount, Entities: []string{"team"}, Usage: client.Usage{"smiles": 1}}
	if err := c.call(http.MethodPost, "http://"+c.nodes[0].http+"/v1/ingest", map[string]any{"events": []client.Event{bad}}, nil); err != nil {
		t.Fatal(err)
	}
	if out := c.must("ledger", "rejected", testAccount, "--admin", admin); !strings.Contains(out, "evt-bad") || !strings.Contains(out, "capability_unknown: 1") || !strings.Contains(out, c.nodes[0].name+" counts since") {
		t.Errorf("a rejected event is not listed:\n%s", out)
	}
	run := func(want int, args ...string) string {
		t.Helper()
		code, output := c.command(append([]string{"reconcile", testAccount, "--admin", admin, "--alias", "gpt-4o-2024*=gpt-4o", "--alias", "openai/*=gpt-4o"}, args...)...)
		if code != want {
			t.Fatalf("%v: exit code %d, want %d\n%s", args, code, want, output)
		}
		return output
	}
	var utc billed
	for _, zone := range zones {
		bill := billed{}
		for _, e := range events {
			model := e.Model
			if strings.Contains(model, "gpt-4o") {
				model = "gpt-4o"
			}
			k := [2]string{e.At.In(zone).Format(time.DateOnly), model}
			if bill[k] == nil {
				bill[k] = &billedSum{nano: new(big.Int)}
			}
			bill[k].nano.Add(bill[k].nano, big.NewInt(e.Usage["usd"]))
			bill[k].tokens += e.Usage["input_tokens"]
		}
		if utc == nil {
			utc = bill
		}
		run(exitDone, "--timezone", zone.String(), "--provider-csv", bill.file(t, zone))
		run(exitDone, "--timezone", zone.String(), "--provider-csv", bill.tokens(t), "--delimiter", "semicolon", "--map", "date=Day,model=Model,input_tokens=Tokens in")
	}

	c.exports(admin, int64(len(events)))

	// A nano-dollar less on one day is found, and the lines behind it are named.
	wrong := utc.keys()[2]
	utc[wrong].nano.Sub(utc[wrong].nano, big.NewInt(1))
	file := utc.file(t, time.UTC)
	records, err := csv.NewReader(strings.NewReader(cut(run(exitFailed, "--provider-csv", file, "--differences", "-o", "csv"), "bursar:"))).ReadAll()
	if err != nil || len(records) != 3 || records[1][0] != wrong[0] || records[1][1] != wrong[1] || records[1][5] != "0.000000001" || records[1][6] != "differs" {
		t.Fatalf("%q, %v", records, err)
	}
	var doc comparedDoc
	if err := json.Unmarshal([]byte(cut(run(exitFailed, "--provider-csv", file, "--differences", "--lines", "1000", "-o", "json"), "bursar:")), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Beyond != 1 || len(doc.Items) != 1 {
		t.Fatalf("%+v", doc)
	}
	nano := new(big.Int)
	for _, l := range doc.Items[0].Lines {
		nano.Add(nano, big.NewInt(l.Usage["usd"]))
	}
	if nano.Sub(nano, utc[wrong].nano); nano.Int64() != 1 {
		t.Errorf("the lines shown behind the difference are %s nano-dollars from the bill, want 1", nano)
	}
	listed := 0
	for _, command := range doc.Items[0].Ledger {
		words := append(strings.Fields(command)[1:], "--admin", admin, "-o", "csv")
		all, err := csv.NewReader(strings.NewReader(c.must(words...))).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		listed += len(all) - 1
	}
	if listed != len(doc.Items[0].Lines) {
		t.Errorf("%q list %d lines, want %d", doc.Items[0].Ledger, listed, len(doc.Items[0].Lines))
	}

	stray := client.Event{ID: "evt-stray", Account: testAccount, Entities: []string{"stray"}, Usage: client.Usage{"requests": 3}}
	if err := c.call(http.MethodPost, "http://"+c.nodes[0].http+"/v1/ingest", map[string]any{"events": []client.Event{stray}}, nil); err != nil {
		t.Fatal(err)
	}
	if out := c.must("ledger", "unattributed", testAccount, "--admin", admin); !strings.Contains(out, "stray") || !strings.Contains(out, "requests=3") || !strings.Contains(out, "1 events: requests=3") {
		t.Errorf("unattributed events are not added up:\n%s", out)
	}
	if out := c.must("ledger", "verify", testAccount, "--admin", admin); !strings.Contains(out, "sound") {
		t.Errorf("verify says:\n%s", out)
	}
	if out := run(exitFailed, "--provider-csv", file, "--lines", "2"); !strings.Contains(out, "bursar ledger list acme --from "+wrong[0]) || !strings.Contains(out, "evt-") {
		t.Errorf("the table does not lead to the lines:\n%s", out)
	}
	run(exitDone, "--provider-csv", file, "--tolerance", "0.000000001")
	run(exitDone, "--provider-csv", file, "--only", "o3*,gpt*", "--from", nextDay(wrong[0]))
	if out := run(exitUsage, "--provider-csv", written(t, "bad.csv", "start_time,end_time,amount_value,amount_currency,line_item\n1759622400,,x,usd,m\n")); !strings.Contains(out,
		`bad.csv: line 2, column "amount_value": "x" is not a number`) {
		t.Error(out)
	}
}

// A word of a command line is what the shell it is pasted into reads again, and shows nothing that acts on a terminal.
func TestQuotedWordsAreReadAgain(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip(err)
	}
	for _, word := range []string{
		"gpt-4o", "", "-x", "it's", `a\b c`, "日本 \"x\" $HOME `x`", "=1+1", "\x1b[31m", "red\u009b31m", "\u202eabc\u2066", "it's \\\n\t\x7f\u00a0 9", "\xff\xc2", "\x01f0\u20280",
	} {
		written := quoted(word)
		if i := strings.IndexFunc(written, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 || !utf8.ValidString(written) {
			t.Errorf("%q is written as %q, with what is not printable", word, written)
		}
		out, err := exec.Command(bash, "-c", "printf %s "+written).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q is written as %s, which is read as %q, %v", word, written, out, err)
		}
	}
}

// cut drops what follows a mark: what went to standard error.
func cut(s, mark string) string {
	s, _, _ = strings.Cut(s, mark)
	return s
}

func nextDay(day string) string {
	t, _ := time.Parse(time.DateOnly, day)
	return t.AddDate(0, 0, 1).Format(time.DateOnly)
}
