package admin

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
	"github.com/bursar-dev/bursar/fsm/price"
)

// longLedger is a ledger of many lines with the sizes of a real trace and the prices of real models, over forty
// days: the calls of bench/testdata in turn, every hundredth with its context fifty times as long, so that the prices above 200k tokens are met.
// A quarter of the calls read part of their context from a cache. Every model of the map is called, the more popular ones more often (Zipf).
type longLedger struct {
	*plane
	dir   string // of the state machine
	api   *client.Admin
	calls [][2]int64 // input and output tokens
	names []string   // of models
	raw   map[string]map[string]any
	book  *price.Book
	price uint64 // version

	budgets map[string][]fsm.Assignment // by entity
	first   time.Time                   // of the first line, which begins a month of the account's
	random  *rand.Rand
	popular *rand.Zipf // which model
	lines   int
	input   int64 // tokens of the events, added up while they were made
}

const (
	longAccount = "trace"
	longZone    = "Europe/Berlin"
	longTeams   = 8
	longUsers   = 200
	longSpan    = 40 * 24 * time.Hour
	longBatch   = 300 // events of a log entry
)

// newLongLedger makes a ledger of n lines.
func newLongLedger(t testing.TB, n int) *longLedger {
	t.Helper()
	dir := t.TempDir()
	m, err := fsm.Open(dir, fsm.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	l := &longLedger{plane: planeOver(t, m, func(l net.Listener) net.Listener { return l }), dir: dir, random: rand.New(rand.NewPCG(2023, 11))}
	if l.api, err = client.NewAdmin([]string{l.server.URL}, l.root); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.api.Close)
	l.readTrace()
	l.readPrices()
	l.makeTree()
	l.popular = rand.NewZipf(l.random, 1.1, 4, uint64(len(l.names)-1))
	zone, err := fsm.Location(longZone)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().In(zone)
	l.first = time.Date(now.Year(), now.Month()-2, 1, 0, 0, 0, 0, zone)
	for done := 0; done < n; done += longBatch {
		batch := make([]fsm.Event, 0, longBatch)
		for i := done; i < min(n, done+longBatch); i++ {
			batch = append(batch, l.event(i, l.first.Add(longSpan/time.Duration(n)*time.Duration(i))))
		}
		l.apply(fsm.Reconcile{Parts: []fsm.Part{{Node: 1, Boot: 1, Events: batch}}})
	}
	l.lines = n
	return l
}

func (l *longLedger) readTrace() {
	l.t.Helper()
	f, err := os.Open("../bench/testdata/azure_code_2000.csv")
	if err != nil {
		l.t.Fatal(err)
	}
	defer f.Close()
	records, err := csv.NewReader(f).ReadAll()
	if err != nil {
		l.t.Fatal(err)
	}
	for _, r := range records[1:] {
		in, bad := strconv.ParseInt(r[1], 10, 64)
		out, worse := strconv.ParseInt(r[2], 10, 64)
		if bad != nil || worse != nil {
			l.t.Fatal(r)
		}
		l.calls = append(l.calls, [2]int64{in, out})
	}
}

func (l *longLedger) readPrices() {
	l.t.Helper()
	data, err := os.ReadFile("../fsm/price/testdata/model_prices.json")
	if err != nil {
		l.t.Fatal(err)
	}
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.UseNumber()
	if err := d.Decode(&l.raw); err != nil {
		l.t.Fatal(err)
	}
	l.names = slices.Sorted(maps.Keys(l.raw))
	stored, err := l.api.PutPrices(l.t.Context(), data, time.Time{})
	if err != nil {
		l.t.Fatal(err)
	}
	l.price = *stored.Version
	if l.book, err = l.machine.PriceBook(fsm.PriceVersion{Version: l.price}); err != nil {
		l.t.Fatal(err)
	}
}

// makeTree gives the account teams of users, and each level budgets that are only metered.
func (l *longLedger) makeTree() {
	l.t.Helper()
	l.must("PUT", "/v1/accounts/"+longAccount, `{"name":"Trace","timezone":"`+longZone+`"}`)
	l.must("PUT", "/v1/entity-types", `{"entity_types":[{"id":"team"},{"id":"user"}]}`)
	var entities []client.Entity
	assign := func(entity, capability, every string) client.Assignment {
		return client.Assignment{Entity: entity, Capability: capability, Cadence: client.Cadence{Every: every, Timezone: longZone}, Scope: []string{}, AlertThresholds: []int{}}
	}
	assignments := []client.Assignment{assign(longAccount, "usd", "never")}
	for i := range longTeams {
		id := team(i)
		entities = append(entities, client.Entity{ID: id, Type: "team"})
		assignments = append(assignments, assign(id, "tokens", "month"), assign(id, "usd", "never"))
	}
	for i := range longUsers {
		parent := team(i)
		entities = append(entities, client.Entity{ID: user(i), Type: "user", Parent: &parent})
		assignments = append(assignments, assign(user(i), "requests", "never"))
	}
	for path, body := range map[string]any{"entities": client.Entities{Entities: entities}} {
		data, err := json.Marshal(body)
		if err != nil {
			l.t.Fatal(err)
		}
		l.must("PUT", "/v1/accounts/"+longAccount+"/"+path, string(data))
	}
	data, err := json.Marshal(client.Assignments{Assignments: assignments})
	if err != nil {
		l.t.Fatal(err)
	}
	l.must("PUT", "/v1/accounts/"+longAccount+"/assignments", string(data))
	l.budgets = map[string][]fsm.Assignment{}
	var next string
	for first := true; first || next != ""; first = false {
		var items []fsm.Assignment
		if items, next, err = l.machine.ListAssignments(longAccount, fsm.AssignmentFilter{}, next, 1000); err != nil {
			l.t.Fatal(err)
		}
		for _, a := range items {
			l.budgets[a.Entity] = append(l.budgets[a.Entity], a)
		}
	}
}

func team(i int) string { return fmt.Sprint("team-", i%longTeams) }
func user(i int) string { return fmt.Sprintf("user-%03d", i) }

// event makes the i-th event, priced and resolved as a node does when it accepts one.
func (l *longLedger) event(i int, at time.Time) fsm.Event {
	call := l.calls[i%len(l.calls)]
	if i%100 == 99 {
		call[0] *= 50
	}
	who := l.random.IntN(longUsers)
	e := fsm.Event{
		Account: longAccount, ID: fmt.Sprintf("trace-%07d", i), Entities: []string{user(who)}, Chain: []string{user(who), team(who), longAccount},
		Model: l.names[l.popular.Uint64()], At: at.UnixMilli(), ReceivedAt: at.UnixMilli() + 40, Node: 1,
		Metadata: map[string]string{"trace": strconv.FormatUint(l.random.Uint64(), 16)},
	}
	e.Hash = TokenDigest(e.ID)
	if who%3 == 0 {
		e.Member = fmt.Sprintf("member-%d@trace.test", who%30)
	}
	if n := l.random.IntN(20); n < 4 {
		e.Tier = []price.Tier{price.Batch, price.Flex, price.Priority, price.Batch}[n]
	}
	l.input += call[0]
	var q price.Quantities
	if l.random.IntN(4) == 0 {
		cached := call[0] * int64(l.random.IntN(4)) / 4
		e.Usage = append(e.Usage, fsm.Quantity{Capability: fsm.CapCachedTokens, Amount: cached})
		q.Set(price.CachedTokens, cached, 0)
	}
	q.Set(price.InputTokens, call[0], 0)
	q.Set(price.OutputTokens, call[1], 0)
	e.Usage = append(e.Usage,
		fsm.Quantity{Capability: fsm.CapInputTokens, Amount: call[0]}, fsm.Quantity{Capability: fsm.CapOutputTokens, Amount: call[1]},
		fsm.Quantity{Capability: fsm.CapRequests, Amount: 1}, fsm.Quantity{Capability: fsm.CapTokens, Amount: call[0] + call[1]})
	model := l.book.Find([]byte(e.Model))
	p := &fsm.Pricing{Version: l.price, Model: model.Name}
	nano, complete, err := model.Cost(q, e.Tier, &p.Terms)
	if err != nil {
		l.t.Fatal(err)
	}
	if p.Unpriced = !complete; complete || nano > 0 {
		e.Usage = append(e.Usage, fsm.Quantity{Capability: fsm.CapUSD, Amount: nano})
	}
	e.Pricing = p
	for _, a := range slices.Concat(l.budgets[e.Chain[0]], l.budgets[e.Chain[1]], l.budgets[e.Chain[2]]) {
		for _, u := range e.Usage {
			if u.Capability == a.Capability {
				start, _ := a.Cadence.Period(e.At)
				e.Lines = append(e.Lines, fsm.Line{Budget: fsm.BudgetKey{Assignment: a.Num, Start: start}, Amount: u.Amount})
			}
		}
	}
	return e
}
