package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/bursar-dev/bursar/client"
)

// Everything that clients see of three processes, one of which is killed with kill -9 now
// and then, the leader first, is what one register (each setting) and one bounded counter
// (each budget) would show. The one thing not held against it is a refusal while a node is
// away: what that node may have given out is in doubt then, and counts as taken.
func TestWhatClientsSeeIsLinearizable(t *testing.T) {
	notShort(t)
	const (
		settingClients = 4
		budgetGroups   = 3
		groupClients   = 4
	)
	c := startCluster(t, 3, nil)
	s := newSettings(c)
	b := newBudgets(c, budgetGroups, 300)

	lasting := 10 * time.Second
	if long() {
		lasting = 2 * time.Minute
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var all sync.WaitGroup
	for i := range settingClients {
		all.Go(func() { s.use(ctx, i) })
	}
	for i := range budgetGroups * groupClients {
		all.Go(func() { b.use(ctx, i, i%budgetGroups) })
	}
	all.Go(func() { b.watch(ctx) })
	kills := 0
	for began := time.Now(); time.Since(began) < lasting; kills++ {
		time.Sleep(time.Duration(1000+rand.IntN(1500)) * time.Millisecond)
		victim := c.leader()
		if kills%2 == 1 {
			victim = rand.IntN(len(c.nodes))
		}
		b.doubt.from(b.h.now())
		c.nodes[victim].kill()
		time.Sleep(time.Duration(rand.IntN(1000)) * time.Millisecond)
		c.start(victim)
		c.waitReady(victim)
		time.Sleep(time.Second) // as many operations with all nodes as without one
	}
	stop()
	all.Wait()

	refusals := b.addRefusals()
	settings, draws := s.h.explained(t, register), b.h.explained(t, budget)
	t.Logf("%d kills; %d operations on %d settings; %d on %d budgets, %d of them refusals, %d while nothing was in doubt",
		kills, settings, len(s.h.ops), draws, len(b.h.ops), len(b.refusals), refusals)
	if settings < 20 || draws < 100 || refusals < 3 {
		t.Error("too little was seen: the test shows nothing")
	}
	c.stopAll()
}

// settings are names and a limit, each written and read through every node.
type settings struct {
	c       *testCluster
	h       *history
	things  []string
	account string // url paths
	limit   string // id of the assignment
}

const settingsEntity = "registered"

func newSettings(c *testCluster) *settings {
	c.t.Helper()
	s := &settings{c: c, h: newHistory(), things: []string{"account", "entity", "limit"}, account: "/v1/accounts/settings"}
	c.put(0, s.account, client.Account{Name: "first"})
	c.put(0, "/v1/entity-types", client.EntityTypes{EntityTypes: []client.EntityType{{ID: "user"}}})
	for _, name := range s.things {
		if err := s.write(c.t.Context(), 0, name, "1"); err != nil {
			c.t.Fatal(err)
		}
		s.h.add(0, name, 0, setting{true, "1"}, nil, false)
	}
	return s
}

// use writes and reads until ctx ends. Every value is written once.
func (s *settings) use(ctx context.Context, who int) {
	for n := 1; ctx.Err() == nil; n++ {
		name, node, call := s.things[rand.IntN(len(s.things))], rand.IntN(len(s.c.nodes)), s.h.now()
		if rand.IntN(3) == 0 {
			in := setting{true, strconv.Itoa(n*100 + who + 2)}
			err := s.write(context.WithoutCancel(ctx), node, name, in.value)
			s.h.add(who, name, call, in, nil, err != nil)
		} else if value, err := s.read(ctx, node, name); err == nil {
			s.h.add(who, name, call, setting{}, value, false)
		}
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
	}
}

func (s *settings) write(ctx context.Context, node int, name, value string) error {
	path, body := s.account, any(client.Account{Name: value})
	switch name {
	case "entity":
		path, body = s.account+"/entities", client.Entities{Entities: []client.Entity{{ID: settingsEntity, Type: "user", Name: value}}}
	case "limit":
		limit, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return err
		}
		path, body = s.account+"/assignments", assignments(limit, settingsEntity)
	}
	status, data, err := s.c.do(ctx, http.MethodPut, "http://"+s.c.nodes[node].admin+path, body)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%d %s", status, data)
	}
	if err == nil && name == "limit" && s.limit == "" { // before anybody else writes
		var stored client.Assignments
		if err = json.Unmarshal(data, &stored); err == nil {
			s.limit = stored.Assignments[0].ID
		}
	}
	return err
}

func (s *settings) read(ctx context.Context, node int, name string) (string, error) {
	var answer struct {
		Name  string `json:"name"`
		Limit *int64 `json:"limit"`
	}
	path := map[string]string{"account": s.account, "entity": s.account + "/entities/" + settingsEntity, "limit": s.account + "/assignments/" + s.limit}[name]
	status, data, err := s.c.do(ctx, http.MethodGet, "http://"+s.c.nodes[node].admin+path, nil)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%d %s", status, data)
	}
	if err == nil {
		err = json.Unmarshal(data, &answer)
	}
	if err == nil && answer.Limit != nil {
		return strconv.FormatInt(*answer.Limit, 10), nil
	}
	return answer.Name, err
}

// assignments gives entities a hard limit of requests, without end.
func assignments(limit int64, entities ...string) client.Assignments {
	var all client.Assignments
	for _, e := range entities {
		all.Assignments = append(all.Assignments, client.Assignment{
			Entity: e, Capability: "requests", Limit: &limit, Cadence: client.Cadence{Every: "never"},
			Enforcement: "hard", Scope: []string{}, AlertThresholds: []int{},
		})
	}
	return all
}

// budgets are many small hard limits, each used by a group of clients for a while.
type budgets struct {
	c      *testCluster
	h      *history
	groups int
	names  []string
	doubt  doubt

	mu       sync.Mutex
	refusals []refusal
}

// refusal is a refused check, kept until it is known what was in doubt.
type refusal struct {
	who       int
	name      string
	call, end int64
	in        draw
}

const (
	budgetLimit = 20
	budgetMost  = 6  // amount of one check
	budgetCalls = 20 // of a client, then it goes on to the next budget
)

func newBudgets(c *testCluster, groups, count int) *budgets {
	c.t.Helper()
	b := &budgets{c: c, h: newHistory(), groups: groups}
	var entities client.Entities
	for i := range count {
		name := fmt.Sprintf("budget-%d", i)
		b.names = append(b.names, name)
		entities.Entities = append(entities.Entities, client.Entity{ID: name, Type: "user"})
	}
	c.put(0, "/v1/accounts/"+testAccount, client.Account{Name: "Acme"})
	c.put(0, "/v1/accounts/"+testAccount+"/entities", entities)
	c.put(0, "/v1/accounts/"+testAccount+"/assignments", assignments(budgetLimit, b.names...))
	return b
}

// use takes and gives back, from one budget of the group after the other.
func (b *budgets) use(ctx context.Context, who, group int) {
	for n := 0; ctx.Err() == nil; n++ {
		at := n/budgetCalls*b.groups + group
		name := b.names[at%len(b.names)]
		reservation, amount := b.reserve(ctx, who, name)
		time.Sleep(time.Duration(rand.IntN(15)) * time.Millisecond)
		switch {
		case reservation == "":
		case rand.IntN(4) == 0:
			b.settle(ctx, who, name, reservation, amount)
		default:
			b.release(ctx, who, name, reservation, amount)
		}
	}
}

func (b *budgets) anyNode() *testNode { return b.c.nodes[rand.IntN(len(b.c.nodes))] }

// reserve asks for some requests, for longer than the test lasts.
func (b *budgets) reserve(ctx context.Context, who int, name string) (reservation string, amount int64) {
	in := draw{1 + rand.Int64N(budgetMost), budgetLimit}
	call := b.h.now()
	status, data, err := b.c.do(context.WithoutCancel(ctx), http.MethodPost, "http://"+b.anyNode().http+"/v1/check", client.CheckRequest{
		Account: testAccount, Entities: []string{name}, Usage: client.Usage{"requests": in.amount}, ReserveTTLMS: time.Hour.Milliseconds(),
	})
	var answer client.CheckResponse
	switch {
	case err != nil:
		b.h.add(who, name, call, in, maybe, true)
	case status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests:
		b.h.add(who, name, call, in, maybe, true)
		b.h.add(who, name, call, draw{-in.amount, in.limit}, undone, true)
	case status != http.StatusOK || json.Unmarshal(data, &answer) != nil:
		b.c.t.Errorf("check: %d %s", status, data)
	case answer.Allowed:
		b.h.add(who, name, call, in, granted, false)
		return answer.Reservation, in.amount
	default:
		b.mu.Lock()
		b.refusals = append(b.refusals, refusal{who, name, call, b.h.now(), in})
		b.mu.Unlock()
	}
	return "", 0
}

// release gives a reservation back, on one node after the other until that is answered.
func (b *budgets) release(ctx context.Context, who int, name, reservation string, amount int64) {
	call := b.h.now()
	for ctx.Err() == nil {
		status, data, err := b.c.do(context.WithoutCancel(ctx), http.MethodPost, "http://"+b.anyNode().http+"/v1/reservations/"+reservation+"/release", nil)
		if err == nil && status == http.StatusOK {
			b.h.add(who, name, call, draw{-amount, budgetLimit}, given, false)
			return
		}
		if err == nil && status == http.StatusNotFound {
			break // its origin has been started again since it was released
		}
		if err == nil && status != http.StatusServiceUnavailable {
			b.c.t.Errorf("release: %d %s", status, data)
			return
		}
	}
	b.h.add(who, name, call, draw{-amount, budgetLimit}, given, true)
}

// settle records that a part of a reservation was used. The rest is given back: at once if the event
// is in the ledger, some time later if a node only keeps it until there is a leader.
func (b *budgets) settle(ctx context.Context, who int, name, reservation string, amount int64) {
	used := rand.Int64N(amount + 1)
	batch := client.IngestRequest{Events: []client.Event{{
		ID: "evt-" + ulid.Make().String(), Account: testAccount, Entities: []string{name},
		Usage: client.Usage{"requests": used}, Reservation: reservation,
	}}}
	back := draw{used - amount, budgetLimit}
	call := b.h.now()
	for ctx.Err() == nil {
		status, data, err := b.c.do(context.WithoutCancel(ctx), http.MethodPost, "http://"+b.anyNode().http+"/v1/ingest", batch)
		if err == nil && (status == http.StatusOK || status == http.StatusAccepted) {
			b.h.add(who, name, call, back, given, status == http.StatusAccepted)
			return
		}
		if err == nil && status != http.StatusServiceUnavailable && status != http.StatusTooManyRequests {
			b.c.t.Errorf("ingest: %d %s", status, data)
			return
		}
	}
	b.h.add(who, name, call, back, given, true)
}

// addRefusals adds the refusals of times when nothing was in doubt to the history, and says how many those are.
func (b *budgets) addRefusals() (certain int) {
	for _, r := range b.refusals {
		if b.doubt.during(r.call, r.end) {
			continue
		}
		certain++
		b.h.mu.Lock()
		b.h.ops[r.name] = append(b.h.ops[r.name], operation(r.who, r.call, r.end, r.in, refused))
		b.h.mu.Unlock()
	}
	return certain
}

// watch notes when nodes call one another dead, or hold anything in doubt.
func (b *budgets) watch(ctx context.Context) {
	for ctx.Err() == nil {
		asked, clear := b.h.now(), true
		for _, node := range b.c.nodes {
			clear = clear && nothingInDoubt(ctx, b.c, node)
		}
		if clear {
			b.doubt.until(asked)
		} else {
			b.doubt.from(asked - doubtUnseen.Nanoseconds())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func nothingInDoubt(ctx context.Context, c *testCluster, node *testNode) bool {
	status, data, err := c.do(ctx, http.MethodGet, "http://"+node.admin+"/v1/cluster?consistency=stale", nil)
	var answer client.Cluster
	if err != nil || status != http.StatusOK || json.Unmarshal(data, &answer) != nil || len(answer.Members) != len(c.nodes) {
		return false
	}
	for _, m := range answer.Members {
		if m.Status != "live" {
			return false
		}
		for _, amount := range m.InDoubt {
			if amount != 0 {
				return false
			}
		}
	}
	return true
}

// doubtUnseen is how long before it is seen a node may already count as dead.
const doubtUnseen = time.Second

// doubt is the times at which amounts were in doubt, ascending and apart.
type doubt struct {
	mu    sync.Mutex
	spans []span
}

// span is a time; an end of 0: it lasts.
type span struct{ begin, end int64 }

func (d *doubt) from(at int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.spans); n == 0 || d.spans[n-1].end != 0 {
		d.spans = append(d.spans, span{begin: at})
	}
}

// until ends the span under way if it began before at.
func (d *doubt) until(at int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.spans); n > 0 && d.spans[n-1].end == 0 && d.spans[n-1].begin < at {
		d.spans[n-1].end = at
	}
}

func (d *doubt) during(call, end int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.spans {
		if s.begin <= end && (s.end == 0 || call <= s.end) {
			return true
		}
	}
	return false
}
