package admin

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/bursar-dev/bursar/client"
	"github.com/bursar-dev/bursar/fsm"
)

// collect reads a list to its end.
func collect[T any](t *testing.T, list iter.Seq2[T, error]) []T {
	t.Helper()
	var out []T
	for x, err := range list {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, x)
	}
	return out
}

// Everything the SDK can ask of the control plane is understood, and it
// understands the answers.
func TestSDKAndServerSpeakTheSameLanguage(t *testing.T) {
	p := newPlane(t)
	ctx := context.Background()
	sdk, err := client.NewAdmin([]string{p.server.URL}, p.root)
	if err != nil {
		t.Fatal(err)
	}
	defer sdk.Close()
	ok := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}

	_, err = sdk.PutEntityTypes(ctx, []client.EntityType{{ID: "team"}, {ID: "user", Name: "User", Parents: []string{"team"}}})
	ok("PutEntityTypes", err)
	_, err = sdk.PutCapabilities(ctx, []client.Capability{{ID: "images", Unit: "image"}})
	ok("PutCapabilities", err)
	_, err = sdk.PutAccount(ctx, client.Account{ID: "globex", Name: "Globex"})
	ok("PutAccount", err)
	_, err = sdk.FreezeAccount(ctx, "globex")
	ok("FreezeAccount", err)
	account, err := sdk.UnfreezeAccount(ctx, "globex")
	ok("UnfreezeAccount", err)
	if account.ID != "globex" || account.Frozen {
		t.Errorf("account = %+v", account)
	}
	team := "team-a"
	entities, err := sdk.PutEntities(ctx, "globex", []client.Entity{{ID: team, Type: "team"}, {ID: "team-b", Type: "team"}, {ID: "ann", Type: "user", Parent: &team}})
	ok("PutEntities", err)
	if _, err := sdk.PutEntities(ctx, "globex", entities); err != nil {
		t.Errorf("sending entities back: %v", err)
	}
	_, err = sdk.MoveEntity(ctx, "globex", "ann", "team-b")
	ok("MoveEntity", err)
	_, err = sdk.ArchiveEntity(ctx, "globex", "ann")
	ok("ArchiveEntity", err)
	_, err = sdk.UnarchiveEntity(ctx, "globex", "ann")
	ok("UnarchiveEntity", err)

	limit := int64(100)
	made, err := sdk.PutAssignments(ctx, "globex", []client.Assignment{
		{Entity: "ann", Capability: "images", Limit: &limit, Cadence: client.Cadence{Every: "month"}},
		{Entity: "team-b", Capability: "usd", Cadence: client.Cadence{Every: "never"}},
	})
	ok("PutAssignments", err)
	if _, err := sdk.PutAssignments(ctx, "globex", made); err != nil {
		t.Errorf("sending assignments back: %v", err)
	}
	got, err := sdk.Assignment(ctx, "globex", made[0].ID)
	ok("Assignment", err)
	if *got.Limit != limit || got.Cadence.Timezone != "UTC" {
		t.Errorf("assignment = %+v", got)
	}
	for _, a := range []*client.Admin{sdk, sdk.Stale()} {
		if n := len(collect(t, a.Balances(ctx, "globex", client.AssignmentFilter{Entity: "ann", Capability: "images"}))); n != 1 {
			t.Errorf("%d balances, want 1", n)
		}
		rows := collect(t, a.Tree(ctx, "globex", client.TreeFilter{
			EntityTypes: []string{"user"}, Capabilities: []string{"images"}, Search: "AN", Subtree: "team-b", Depth: new(1),
			MinUtilization: "0", Scope: "unscoped", SortBy: "utilization", Order: "desc",
		}))
		if len(rows) != 1 || rows[0].ID != "ann" || rows[0].Utilization == nil || *rows[0].Available != limit {
			t.Errorf("tree = %+v", rows)
		}
		if n := len(collect(t, a.Entities(ctx, "globex"))); n != 4 {
			t.Errorf("%d entities, want 4 with the root", n)
		}
		if n := len(collect(t, a.Accounts(ctx))); n != 2 {
			t.Errorf("%d accounts, want 2", n)
		}
		if _, err := a.Cluster(ctx); err != nil {
			t.Error(err)
		}
		if n := len(collect(t, a.EntityTypes(ctx))); n < 2 {
			t.Errorf("%d entity types", n)
		}
		if n := len(collect(t, a.Capabilities(ctx))); n < 7 {
			t.Errorf("%d capabilities", n)
		}
		if n := len(collect(t, a.Audit(ctx, client.AuditFilter{Account: "globex", Action: "entity."}))); n < 4 {
			t.Errorf("%d audit entries", n)
		}
	}
	ok("DeleteAssignment", sdk.DeleteAssignment(ctx, "globex", made[0].ID))
	if _, err := sdk.Assignment(ctx, "globex", made[0].ID); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("deleted assignment: %v, want ErrNotFound", err)
	}

	name := "globex"
	token, err := sdk.CreateToken(ctx, client.Token{Name: "gateway", Role: "service", Account: &name})
	ok("CreateToken", err)
	if !slices.ContainsFunc(collect(t, sdk.Tokens(ctx)), func(x client.Token) bool { return x.ID == token.ID && x.Token == "" }) {
		t.Error("the new token is not listed without its secret")
	}
	ok("DeleteToken", sdk.DeleteToken(ctx, token.ID))
	v, err := sdk.VerifyAudit(ctx)
	ok("VerifyAudit", err)
	if !v.Valid {
		t.Errorf("audit = %+v", v)
	}

	p.company()
	p.settle("evt-1", p.assignment("team-a", "tokens"), 7)
	lines := collect(t, sdk.Ledger(ctx, "acme", client.LedgerFilter{Entity: "team-a", EventID: "evt-1"}))
	if len(lines) != 1 || lines[0].Usage["tokens"] != 7 {
		t.Errorf("ledger = %+v", lines)
	}
	for _, format := range []string{client.CSV, client.NDJSON} {
		var out bytes.Buffer
		ok(format, sdk.ExportLedger(ctx, "acme", client.LedgerFilter{}, format, &out))
		if !strings.Contains(out.String(), "evt-1") {
			t.Errorf("%s: %s", format, out.String())
		}
	}

	p.apply(fsm.DeadNode{Node: 2})
	ok("ForfeitNode", sdk.ForfeitNode(ctx, "n2", true))
	ok("RemoveNode", sdk.RemoveNode(ctx, "n2"))
	ok("TransferLeadership", sdk.TransferLeadership(ctx, ""))
}
