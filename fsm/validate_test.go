package fsm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestIDs(t *testing.T) {
	for _, id := range []string{
		"a", "alice", "alice@acme.test", "o'brien+tag@acme.test", "gpt-4o-2024-08-06", "claude:beta", "auth0|5f7c", "~root", "a=b", "key_01J", "...",
		strings.Repeat("x", MaxIDBytes),
	} {
		if !ValidID(id) || !ValidID([]byte(id)) {
			t.Errorf("%q is refused: %s", id, idFault(id))
		}
	}
	for _, id := range []string{
		"", ".", "..", " ", "a b", "a/b", "a,b", "a\x00b", "a\nb", "a\"b", "a?b", "a#b", "a%2f", `a\b`, "zoë", "\xff", "\ufffd",
		strings.Repeat("x", MaxIDBytes+1),
	} {
		if ValidID(id) {
			t.Errorf("%q is allowed", id)
		}
	}
}

func FuzzValidID(f *testing.F) {
	f.Add("alice@acme.test")
	f.Add("a/b")
	f.Add("\xff")
	f.Fuzz(func(t *testing.T, id string) {
		fault := idFault(id)
		if (fault == "") != ValidID(id) {
			t.Fatalf("%q: %q", id, fault)
		}
		if fault == "" && (len(id) > MaxIDBytes || strings.ContainsAny(id, "/\x00 ,\"\n%?#") || !utf8.ValidString(id)) {
			t.Fatalf("%q is allowed", id)
		}
		if !utf8.ValidString(fault) {
			t.Fatalf("%q: the message is not UTF-8", id)
		}
	})
}

func TestCadencesThatCannotBeComputedNameTheField(t *testing.T) {
	for _, c := range []struct {
		cadence Cadence
		want    []string
	}{
		{Cadence{Every: EveryDay}, nil},
		{Cadence{Every: EveryDay, Timezone: "Europe/Berlin", Anchored: true, Anchor: -1}, nil},
		{Cadence{Every: EveryNever, Timezone: "UTC"}, nil},
		{Cadence{}, []string{"cadence.every"}},
		{Cadence{Every: "fortnight"}, []string{"cadence.every"}},
		{Cadence{Every: EveryDay, Timezone: "Mars/Olympus"}, []string{"cadence.timezone"}},
		{Cadence{Every: EveryDay, Timezone: "Local"}, []string{"cadence.timezone"}},
		{Cadence{Every: EveryNever, Anchored: true}, []string{"cadence.anchor"}},
		{Cadence{Every: EveryDay, Anchored: true, Anchor: maxTime + 1}, []string{"cadence.anchor"}},
		{Cadence{Every: "x", Timezone: "y", Anchored: true, Anchor: minTime - 1}, []string{"cadence.every", "cadence.timezone", "cadence.anchor"}},
	} {
		err := c.cadence.Validate("cadence")
		if err == nil {
			if c.want != nil {
				t.Errorf("%+v is valid", c.cadence)
			}
			continue
		}
		if got := fieldsOf(err.(*Error)); !slices.Equal(got, c.want) {
			t.Errorf("%+v: fields %v, want %v", c.cadence, got, c.want)
		}
		checkMessage(t, err.(*Error))
	}
	if err := (Cadence{}).Validate(""); err.(*Error).Fields[0].Field != "every" {
		t.Errorf("without a prefix: %v", err)
	}
}

func FuzzValidateCadence(f *testing.F) {
	f.Add("day", "Europe/Berlin", int64(0), true)
	f.Add("never", "", int64(1), true)
	f.Fuzz(func(t *testing.T, every, zone string, anchor int64, anchored bool) {
		c := Cadence{Every: Every(every), Timezone: zone, Anchor: anchor, Anchored: anchored}
		if err := c.Validate("c"); err == nil {
			if n := c.normal(); n.Validate("c") != nil || n != n.normal() {
				t.Fatalf("%+v is valid, its normal form %+v is not", c, n)
			}
		} else if e := err.(*Error); e.Code != CodeInvalid || len(e.Fields) == 0 {
			t.Fatalf("%+v: %v", c, err)
		}
	})
}

// Every fault of an item is reported under its index, and nothing is stored.
func TestInvalidItemsNameTheirField(t *testing.T) {
	d := newAcme(t)
	ents := func(items ...Entity) Body { return PutEntities{Account: "acme", Items: items} }
	ok := Entity{ID: "bob", Type: "user", Parent: "a"}
	deep := make([]Entity, 0, MaxDepth)
	for i := range MaxDepth {
		e := Entity{ID: fmt.Sprintf("t%02d", i), Type: "user", Parent: fmt.Sprintf("t%02d", i-1)}
		if i == 0 {
			e.Parent = "acme"
		}
		deep = append(deep, e)
	}
	many := make([]Entity, MaxBulk+1)
	metadata := func(m map[string]string) Body {
		return ents(Entity{ID: "bob", Type: "user", Metadata: m})
	}
	tooMany := map[string]string{}
	for i := range MaxMetadataPairs + 1 {
		tooMany[fmt.Sprint(i)] = ""
	}
	with := func(edit func(*AssignmentPut)) Body { return assign("a", "tokens", 10, edit) }
	for _, c := range []struct {
		name string
		body Body
		want string
	}{
		{"account id", PutAccount{ID: "a/b"}, "account"},
		{"account name", PutAccount{ID: "x", Name: strings.Repeat("n", MaxNameBytes+1)}, "name"},

		{"no types", PutEntityTypes{}, "entity_types"},
		{"type id", PutEntityTypes{Items: []EntityType{{ID: "x"}, {ID: " "}}}, "entity_types[1].id"},
		{"type name", PutEntityTypes{Items: []EntityType{{ID: "x", Name: "a\tb"}}}, "entity_types[0].name"},
		{"type twice", PutEntityTypes{Items: []EntityType{{ID: "x"}, {ID: "x"}}}, "entity_types[1].id"},
		{"built-in type", PutEntityTypes{Items: []EntityType{{ID: TypeAccount}}}, "entity_types[0].id"},
		{"unknown parent type", PutEntityTypes{Items: []EntityType{{ID: "x", Parents: []string{"org", "nope"}}}}, "entity_types[0].parents[1]"},
		{"parent type twice", PutEntityTypes{Items: []EntityType{{ID: "x", Parents: []string{"x", "x"}}}}, "entity_types[0].parents[1]"},
		{"too many parents", PutEntityTypes{Items: []EntityType{{ID: "x", Parents: make([]string, MaxParents+1)}}}, "entity_types[0].parents"},

		{"no capabilities", PutCapabilities{}, "capabilities"},
		{"capability id", PutCapabilities{Items: []Capability{{ID: "", Unit: "x"}}}, "capabilities[0].id"},
		{"capability twice", PutCapabilities{Items: []Capability{{ID: "x", Unit: "x"}, {ID: "x", Unit: "x"}}}, "capabilities[1].id"},
		{"unit", PutCapabilities{Items: []Capability{{ID: "x"}}}, "capabilities[0].unit"},
		{"decimals", PutCapabilities{Items: []Capability{{ID: "x", Unit: "x", Decimals: 19}}}, "capabilities[0].decimals"},

		{"no entities", ents(), "entities"},
		{"too many entities", ents(many...), "entities"},
		{"entity id", ents(ok, Entity{ID: "a/b", Type: "user"}), "entities[1].id"},
		{"entity twice", ents(ok, ok), "entities[1].id"},
		{"entity name", ents(ok, Entity{ID: "carl", Type: "user", Name: "\x00"}), "entities[1].name"},
		{"entity name not UTF-8", ents(Entity{ID: "carl", Type: "user", Name: "\xff"}), "entities[0].name"},
		{"no type", ents(Entity{ID: "carl"}), "entities[0].type"},
		{"no type of one that exists", ents(Entity{ID: "alice"}), "entities[0].type"},
		{"unknown type", ents(ok, ok2("x", "robot", "a")), "entities[1].type"},
		{"the root's type", ents(ok2("x", TypeAccount, "a")), "entities[0].type"},
		{"unknown parent", ents(ok, ok2("x", "user", "nobody")), "entities[1].parent"},
		{"own parent", ents(ok2("x", "user", "x")), "entities[0].parent"},
		{"parent of a type not allowed", ents(ok2("x", "project", "a")), "entities[0].parent"},
		{"parent in the call of a type not allowed", ents(ok2("x", "project", "y"), ok2("y", "user", "a")), "entities[0].parent"},
		{"a cycle in the call", ents(ok2("x", "user", "y"), ok2("y", "user", "x")), "entities[0].parent"},
		{"level 33", ents(deep...), "entities[31].parent"},
		{"metadata pairs", metadata(tooMany), "entities[0].metadata"},
		{"metadata bytes", metadata(map[string]string{"k": strings.Repeat("v", MaxMetadataBytes)}), "entities[0].metadata"},
		{"metadata key", metadata(map[string]string{"": "v"}), "entities[0].metadata"},
		{"metadata text", metadata(map[string]string{"k": "\x1b[0m"}), "entities[0].metadata"},

		{"no assignments", PutAssignments{Account: "acme"}, "assignments"},
		{"assignment entity", with(func(a *AssignmentPut) { a.Assignment.Entity = "nobody" }), "assignments[0].entity"},
		{"assignment id", with(func(a *AssignmentPut) { a.Assignment.ID = "" }), "assignments[0].id"},
		{"assignment capability", with(func(a *AssignmentPut) { a.Assignment.Capability = "nothing" }), "assignments[0].capability"},
		{"limit below 0", with(func(a *AssignmentPut) { a.Assignment.Limit = -1 }), "assignments[0].limit"},
		{"limit above 10^18", with(func(a *AssignmentPut) { a.Assignment.Limit = MaxAmount + 1 }), "assignments[0].limit"},
		{"cadence", with(func(a *AssignmentPut) { a.Assignment.Cadence.Every = "" }), "assignments[0].cadence.every"},
		{"timezone", with(func(a *AssignmentPut) { a.Assignment.Cadence.Timezone = "CET/Paris" }), "assignments[0].cadence.timezone"},
		{"enforcement", with(func(a *AssignmentPut) { a.Assignment.Enforcement = "firm" }), "assignments[0].enforcement"},
		{"mode", with(func(a *AssignmentPut) { a.Assignment.Mode = "share" }), "assignments[0].mode"},
		{"allocated without a limit", with(func(a *AssignmentPut) { allocated(a); unlimited(a) }), "assignments[0].limit"},
		{"scope too long", with(scoped("1", "2", "3", "4", "5", "6", "7", "8", "9")), "assignments[0].scope"},
		{"scope with an id twice", with(scoped("x", "y", "x")), "assignments[0].scope"},
		{"scope with no id", with(scoped("x", "y z")), "assignments[0].scope"},
		{"scope with the entity", with(scoped("a")), "assignments[0].scope"},
		{"backfill with scope", with(func(a *AssignmentPut) { backfilled(a); scoped("x")(a) }), "assignments[0].backfill"},
		{"threshold 0", with(thresholds(0, 50)), "assignments[0].alert_thresholds"},
		{"threshold 1001", with(thresholds(50, 1001)), "assignments[0].alert_thresholds"},
		{"thresholds descending", with(thresholds(80, 50)), "assignments[0].alert_thresholds"},
		{"threshold twice", with(thresholds(50, 50)), "assignments[0].alert_thresholds"},
		{"too many thresholds", with(thresholds(make([]int, MaxThresholds+1)...)), "assignments[0].alert_thresholds"},
		{"identity twice", PutAssignments{Account: "acme", Items: append(
			assign("a", "tokens", 1, scoped("x", "y")).Items,
			assign("a", "tokens", 2, scoped("y", "x"), func(a *AssignmentPut) { a.Assignment.Cadence.Timezone = "UTC" }).Items...)}, "assignments[1]"},

		{"token id", PutToken{Token{Role: RoleRoot, Digest: [32]byte{1}}}, "id"},
		{"token name", PutToken{Token{ID: "t", Name: "\n", Role: RoleRoot, Digest: [32]byte{1}}}, "name"},
		{"token role", PutToken{Token{ID: "t", Role: "god", Digest: [32]byte{1}}}, "role"},
		{"token account", PutToken{Token{ID: "t", Role: RoleRoot, Account: "nope", Digest: [32]byte{1}}}, "account"},
		{"token digest", PutToken{Token{ID: "t", Role: RoleRoot}}, "digest"},
		{"token expired", PutToken{Token{ID: "t", Role: RoleRoot, Digest: [32]byte{1}, ExpiresAt: testNow}}, "expires_at"},

		{"move to an unknown parent", MoveEntity{Account: "acme", ID: "alice", Parent: "nobody"}, "parent"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := d.refuse(CodeInvalid, c.body)
			if got := fieldsOf(err); len(got) == 0 || got[0] != c.want {
				t.Errorf("fields %v, want %s first: %v", got, c.want, err)
			}
			checkMessage(t, err)
		})
	}
}

func ok2(id, typ, parent string) Entity { return Entity{ID: id, Type: typ, Parent: parent} }

func thresholds(percent ...int) func(*AssignmentPut) {
	return func(a *AssignmentPut) { a.Assignment.Thresholds = percent }
}

func TestEveryFaultOfABulkIsReportedUpToABound(t *testing.T) {
	d := newAcme(t)
	items := make([]Entity, 200)
	for i := range items {
		items[i] = Entity{ID: fmt.Sprintf("e%d", i), Type: "robot"}
	}
	err := d.refuse(CodeInvalid, PutEntities{Account: "acme", Items: items})
	if len(err.Fields) != maxFieldErrors || !strings.Contains(err.Message, "(and 199 more)") {
		t.Errorf("%d fields: %s", len(err.Fields), err.Message)
	}
}

func TestWhatIsNotThereIsNotFound(t *testing.T) {
	d := newAcme(t)
	for _, body := range []Body{
		FreezeAccount{ID: "nope", Frozen: true},
		PutEntities{Account: "nope", Items: []Entity{{ID: "x", Type: "user"}}},
		ArchiveEntity{Account: "nope", ID: "x"},
		ArchiveEntity{Account: "acme", ID: "nobody", Archived: true},
		MoveEntity{Account: "acme", ID: "nobody", Parent: "a"},
		MoveEntity{Account: "nope", ID: "alice", Parent: "a"},
		PutAssignments{Account: "nope", Items: assign("a", "tokens", 1).Items},
		DeleteAssignment{Account: "acme", ID: "asg_x"},
		DeleteAssignment{Account: "nope", ID: "asg_x"},
		DeleteToken{ID: "tok_x"},
	} {
		d.refuse(CodeNotFound, body)
	}
}
