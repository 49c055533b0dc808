package fsm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pages reads every page of a listing and returns what it found, in order, and how many pages it took.
func pages[T any](t *testing.T, limit int, query func(after string, limit int) ([]T, string, error), id func(T) string) (ids []string, n int) {
	t.Helper()
	after := ""
	for n = 1; ; n++ {
		items, next, err := query(after, limit)
		if err != nil {
			t.Fatal(err)
		}
		if len(items) > limit {
			t.Fatalf("a page of %d items, asked for %d", len(items), limit)
		}
		for _, i := range items {
			ids = append(ids, id(i))
		}
		if next == "" {
			return ids, n
		}
		after = next
	}
}

func TestListingsPageInOrder(t *testing.T) {
	d := newAcme(t)
	var accounts, entities, types, caps, assignments, tokens []string
	accounts = append(accounts, "acme")
	for i := range 10 {
		id := fmt.Sprintf("acme%d", i) // the account "acme" is a prefix of the others
		accounts = append(accounts, id)
		d.must(PutAccount{ID: id})
		d.must(put(ok2(fmt.Sprintf("e%d", i), "user", "")))
		d.must(PutEntities{Account: id, Items: []Entity{{ID: "other", Type: "user"}}})
		d.must(PutCapabilities{Items: []Capability{{ID: fmt.Sprintf("cap%d", i), Unit: "x"}}})
		d.must(assign(fmt.Sprintf("e%d", i), "tokens", 1, func(a *AssignmentPut) { a.Assignment.ID = fmt.Sprintf("asg_%d", i) }))
		d.must(token(fmt.Sprintf("tok_%d", i), byte(i+1), func(k *Token) { k.Account = accounts[i%2] }))
		entities = append(entities, fmt.Sprintf("e%d", i))
		caps = append(caps, fmt.Sprintf("cap%d", i))
		assignments = append(assignments, fmt.Sprintf("asg_%d", i))
		tokens = append(tokens, fmt.Sprintf("tok_%d", i))
	}
	entities = append(entities, "acme", "o", "p", "a", "b", "alice")
	types = []string{"org", "project", "team", "user"}
	for _, c := range Builtins() {
		caps = append(caps, c.ID)
	}
	for _, limit := range []int{1, 3, 10, 100} {
		check := func(what string, want, got []string, n int) {
			t.Helper()
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s by %d (-want +got):\n%s", what, limit, diff)
			}
			if most := (len(want) + limit - 1) / limit; n > most {
				t.Errorf("%s by %d: %d pages for %d items", what, limit, n, len(want))
			}
		}
		got, n := pages(t, limit, d.m.ListAccounts, func(a Account) string { return a.ID })
		check("accounts", accounts, got, n)
		got, n = pages(t, limit, d.m.ListEntityTypes, func(e EntityType) string { return e.ID })
		check("types", types, got, n)
		got, n = pages(t, limit, d.m.ListCapabilities, func(c Capability) string { return c.ID })
		check("capabilities", caps, got, n)
		got, n = pages(t, limit, func(after string, limit int) ([]Entity, string, error) { return d.m.ListEntities("acme", after, limit) },
			func(e Entity) string { return e.ID })
		check("entities", entities, got, n)
		got, n = pages(t, limit, func(after string, limit int) ([]Assignment, string, error) {
			return d.m.ListAssignments("acme", AssignmentFilter{}, after, limit)
		}, func(a Assignment) string { return a.ID })
		check("assignments", assignments, got, n)
		got, n = pages(t, limit, func(after string, limit int) ([]Token, string, error) { return d.m.ListTokens("", after, limit) },
			func(k Token) string { return k.ID })
		check("tokens", tokens, got, n)
		got, _ = pages(t, limit, func(after string, limit int) ([]Token, string, error) { return d.m.ListTokens("acme0", after, limit) },
			func(k Token) string { return k.ID })
		if want := []string{"tok_1", "tok_3", "tok_5", "tok_7", "tok_9"}; !slices.Equal(got, want) {
			t.Errorf("tokens of one account: %v", got)
		}
	}
	if items, _, err := d.m.ListEntities("nope", "", 10); err != nil || len(items) != 0 {
		t.Errorf("an unknown account has entities %v, %v", items, err)
	}
	if items, _, _ := d.m.ListEntities("acme", "", 0); len(items) != 1 {
		t.Errorf("a limit of 0 gives %d items, want 1", len(items))
	}
}

func TestAssignmentsAreFoundByIDAndFilter(t *testing.T) {
	d := newAcme(t)
	d.must(assign("a", "tokens", 1))
	d.must(assign("a", "requests", 2))
	d.must(assign("b", "tokens", 3))
	if a, err := d.m.Assignment("acme", "asg_b_tokens"); err != nil || a.Limit != 3 || a.Num != 3 {
		t.Errorf("%+v, %v", a, err)
	}
	for _, id := range []string{"asg_x", ""} {
		if _, err := d.m.Assignment("acme", id); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", id, err)
		}
	}
	for _, c := range []struct {
		f    AssignmentFilter
		want string
	}{
		{AssignmentFilter{Entity: "a"}, "asg_a_requests asg_a_tokens"},
		{AssignmentFilter{Capability: "tokens"}, "asg_a_tokens asg_b_tokens"},
		{AssignmentFilter{Entity: "a", Capability: "tokens"}, "asg_a_tokens"},
		{AssignmentFilter{Entity: "alice"}, ""},
	} {
		ids, _ := pages(t, 1, func(after string, limit int) ([]Assignment, string, error) {
			return d.m.ListAssignments("acme", c.f, after, limit)
		}, func(a Assignment) string { return a.ID })
		if got := strings.Join(ids, " "); got != c.want {
			t.Errorf("%+v: %s, want %s", c.f, got, c.want)
		}
	}
}

func TestAuditIsListedNewestFirstAndFiltered(t *testing.T) {
	d := newAcme(t)
	d.must(archive("alice"))
	start := d.now
	d.must(unarchive("alice"))
	d.must(PutAccount{ID: "beta"})
	list := func(f AuditFilter) (out []string) {
		var after uint64
		for {
			items, next, err := d.m.ListAudit(f, after, 2)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range items {
				out = append(out, fmt.Sprintf("%d %s %s", e.Seq, e.Action, e.Target))
			}
			if next == 0 {
				return out
			}
			after = next
		}
	}
	if all := list(AuditFilter{}); len(all) != int(d.m.s.auditSeq) || all[0] != fmt.Sprintf("%d account.put beta", len(all)) {
		t.Errorf("all %v", all)
	}
	for _, c := range []struct {
		f    AuditFilter
		want string
	}{
		{AuditFilter{Action: "entity.", Target: "alice"}, "15 entity.unarchive alice, 14 entity.archive alice, 9 entity.put alice"},
		{AuditFilter{Action: "entity.archive"}, "14 entity.archive alice"},
		{AuditFilter{Action: "entity"}, ""},
		{AuditFilter{Account: "beta"}, "16 account.put beta"},
		{AuditFilter{Account: "acme", From: start, To: start + 1}, "14 entity.archive alice"},
		{AuditFilter{From: start}, "16 account.put beta, 15 entity.unarchive alice, 14 entity.archive alice"},
		{AuditFilter{Actor: "tok_2"}, ""},
		{AuditFilter{Actor: "tok_1", Action: "node."}, "3 node.admit n3, 2 node.admit n2, 1 node.admit n1"},
	} {
		if got := strings.Join(list(c.f), ", "); got != c.want {
			t.Errorf("%+v: %s, want %s", c.f, got, c.want)
		}
	}
}

func TestTheLedgerIsListedBothWaysAndFiltered(t *testing.T) {
	d := newAcme(t)
	at := d.now
	var ids []string
	for i, e := range []Event{
		{Chain: []string{"alice", "a", "acme"}, Model: "gpt-4o", Usage: []Quantity{{"requests", 1}}},
		{Chain: []string{"b", "acme"}, Model: "claude", Usage: []Quantity{{"requests", 1}, {"usd", 7}}},
		{Chain: []string{"acme"}, Unattributed: true, Usage: []Quantity{{"requests", 1}}},
		{Chain: []string{"alice", "a", "acme"}, Key: "key_1", Model: "claude", Usage: []Quantity{{"tokens", 9}}},
	} {
		e.At = at + int64(i)*hourMS
		ids = append(ids, d.event(e))
	}
	list := func(f LedgerFilter) (out string) {
		var after uint64
		for {
			items, next, err := d.m.ListLedger("acme", f, after, 1)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range items {
				out += fmt.Sprint(l.Seq)
				if l.Event.ID != ids[l.Seq-1] {
					t.Errorf("line %d is of %q", l.Seq, l.Event.ID)
				}
			}
			if next == 0 {
				return out
			}
			after = next
		}
	}
	for _, c := range []struct {
		f    LedgerFilter
		want string
	}{
		{LedgerFilter{}, "4321"},
		{LedgerFilter{OldestFirst: true}, "1234"},
		{LedgerFilter{Entity: "a"}, "41"},
		{LedgerFilter{Entity: "acme", OldestFirst: true, Model: "claude"}, "24"},
		{LedgerFilter{Capability: "usd"}, "2"},
		{LedgerFilter{Key: "key_1"}, "4"},
		{LedgerFilter{Unattributed: true}, "3"},
		{LedgerFilter{From: at + hourMS, To: at + 3*hourMS}, "32"},
		{LedgerFilter{EventID: ids[1]}, "2"},
		{LedgerFilter{EventID: ids[1], OldestFirst: true}, "2"},
		{LedgerFilter{EventID: ids[1], Model: "gpt-4o"}, ""},
		{LedgerFilter{EventID: "never"}, ""},
	} {
		if got := list(c.f); got != c.want {
			t.Errorf("%+v: %s, want %s", c.f, got, c.want)
		}
	}
	for after, want := range map[uint64]int{1: 0, 2: 0, 3: 1} {
		items, _, _ := d.m.ListLedger("acme", LedgerFilter{EventID: ids[1]}, after, 1)
		if len(items) != want {
			t.Errorf("the line of an event, newest first after %d: %d lines, want %d", after, len(items), want)
		}
	}
	for after, want := range map[uint64]int{1: 1, 2: 0, 3: 0} {
		items, _, _ := d.m.ListLedger("acme", LedgerFilter{EventID: ids[1], OldestFirst: true}, after, 1)
		if len(items) != want {
			t.Errorf("the line of an event, oldest first after %d: %d lines, want %d", after, len(items), want)
		}
	}
}

// Every block of lines has both values, and no line has: the index cannot help.
func TestAFilteredQueryReadsABoundedNumberOfValues(t *testing.T) {
	d := newAcme(t)
	const lines = maxScan + 500
	for i := 0; i < lines; {
		part := Part{Node: 1}
		for range 1500 {
			i++
			e := Event{Account: "acme", ID: fmt.Sprint(i), Node: 1, Chain: []string{"acme"}, At: d.now}
			if e.Model = "m"; i%2 == 0 {
				e.Model, e.Key = "", "k"
			}
			part.Events = append(part.Events, e)
		}
		d.must(Reconcile{Parts: []Part{part}})
	}
	both := LedgerFilter{Model: "m", Key: "k"}
	items, next, err := d.m.ListLedger("acme", both, 0, 10)
	if err != nil || len(items) != 0 || next == 0 || next > lines-maxScan+1 || next < lines-maxScan-2*blockLines {
		t.Fatalf("%d items, next %d, %v", len(items), next, err)
	}
	items, next, err = d.m.ListLedger("acme", both, next, 10)
	if err != nil || len(items) != 0 || next != 0 {
		t.Errorf("the rest: %d items, next %d, %v", len(items), next, err)
	}
}

func TestAFilteredListingReadsABoundedNumberOfValues(t *testing.T) {
	d := newAcme(t)
	const bulks = maxScan/MaxBulk + 1
	users := put()
	for j := range MaxBulk {
		users.Items = append(users.Items, ok2(fmt.Sprintf("u%d", j), "user", "a"))
	}
	d.must(users)
	for i := range bulks {
		all := PutAssignments{Account: "acme"}
		for j := range MaxBulk {
			all.Items = append(all.Items, assign(fmt.Sprintf("u%d", j), "tokens", 1, soft, scoped(fmt.Sprintf("s%d", i)), func(a *AssignmentPut) {
				a.Assignment.ID = fmt.Sprintf("asg_%05d", i*MaxBulk+j)
			}).Items...)
		}
		d.must(all)
	}
	f := AssignmentFilter{Capability: CapUSD}
	items, next, err := d.m.ListAssignments("acme", f, "", 10)
	if want := fmt.Sprintf("asg_%05d", maxScan-1); err != nil || len(items) != 0 || next != want {
		t.Fatalf("%d items, next %q, want %q: %v", len(items), next, want, err)
	}
	items, next, err = d.m.ListAssignments("acme", f, next, 10)
	if err != nil || len(items) != 0 || next != "" {
		t.Errorf("the rest: %d items, next %q, %v", len(items), next, err)
	}
}
