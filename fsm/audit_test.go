package fsm

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

// TestTheAuditTrailSaysWhatChanged goes through every action once.
func TestTheAuditTrailSaysWhatChanged(t *testing.T) {
	d := newDesk(t)
	var from uint64
	for _, c := range []struct {
		body Body
		want string // action account target from → to, one line an entry
	}{
		{PutAccount{ID: "acme", Name: "Acme"},
			`account.put acme acme null → {"id":"acme","name":"Acme","frozen":false,"timezone":"UTC"}`},
		{PutAccount{ID: "acme", Name: "Acme <Inc>"},
			`account.put acme acme {"id":"acme","name":"Acme","frozen":false,"timezone":"UTC"} → {"id":"acme","name":"Acme \u003cInc\u003e","frozen":false,"timezone":"UTC"}`},
		{FreezeAccount{ID: "acme", Frozen: true},
			`account.freeze acme acme {"id":"acme","name":"Acme \u003cInc\u003e","frozen":false,"timezone":"UTC"} → {"id":"acme","name":"Acme \u003cInc\u003e","frozen":true,"timezone":"UTC"}`},
		{FreezeAccount{ID: "acme"},
			`account.unfreeze acme acme {"id":"acme","name":"Acme \u003cInc\u003e","frozen":true,"timezone":"UTC"} → {"id":"acme","name":"Acme \u003cInc\u003e","frozen":false,"timezone":"UTC"}`},
		{PutEntityTypes{Items: []EntityType{{ID: "team", Name: "Team"}, {ID: "user", Parents: []string{"team"}}}},
			`entity_type.put  team null → {"id":"team","name":"Team","parents":[]}
entity_type.put  user null → {"id":"user","name":"","parents":["team"]}`},
		{PutCapabilities{Items: []Capability{{ID: "images", Unit: "image", Decimals: 2}}},
			`capability.put  images null → {"id":"images","unit":"image","decimals":2}`},
		{put(Entity{ID: "a", Type: "team", Metadata: map[string]string{"z": "1", "b": "2"}}, ok2("b", "team", "a")),
			`entity.put acme a null → {"id":"a","type":"team","parent":"acme","name":"","metadata":{"b":"2","z":"1"},"archived":false}
entity.put acme b null → {"id":"b","type":"team","parent":"a","name":"","archived":false}`},
		{move("b", ""),
			`entity.move acme b {"id":"b","type":"team","parent":"a","name":"","archived":false} → {"id":"b","type":"team","parent":"acme","name":"","archived":false}`},
		{archive("b"),
			`entity.archive acme b {"id":"b","type":"team","parent":"acme","name":"","archived":false} → {"id":"b","type":"team","parent":"acme","name":"","archived":true,"archived_by":"b"}`},
		{unarchive("b"),
			`entity.unarchive acme b {"id":"b","type":"team","parent":"acme","name":"","archived":true,"archived_by":"b"} → {"id":"b","type":"team","parent":"acme","name":"","archived":false}`},
		{assign("a", "images", 5, func(a *AssignmentPut) {
			a.Assignment.Cadence = Cadence{Every: EveryDay, Timezone: "Asia/Tokyo", Anchored: true, Anchor: instant("2026-01-15T00:00:00Z")}
		}),
			`assignment.put acme asg_a_images null → {"id":"asg_a_images","entity":"a","capability":"images","limit":5,"cadence":{"every":"day","timezone":"Asia/Tokyo","anchor":"2026-01-15T00:00:00Z"},"enforcement":"hard","mode":"cap","scope":[],"alert_thresholds":[],"backfill":false}`},
		{assign("b", "tokens", 0, unlimited, soft, scoped("y", "x"), thresholds(50)),
			`assignment.put acme asg_b_tokens null → {"id":"asg_b_tokens","entity":"b","capability":"tokens","limit":null,"cadence":{"every":"month","timezone":"UTC"},"enforcement":"soft","mode":"cap","scope":["x","y"],"alert_thresholds":[50],"backfill":false}`},
		{DeleteAssignment{Account: "acme", ID: "asg_b_tokens"},
			`assignment.delete acme asg_b_tokens {"id":"asg_b_tokens","entity":"b","capability":"tokens","limit":null,"cadence":{"every":"month","timezone":"UTC"},"enforcement":"soft","mode":"cap","scope":["x","y"],"alert_thresholds":[50],"backfill":false} → null`},
		{PutToken{Token{ID: "tok_2", Name: "gw", Role: RoleService, Account: "acme", Digest: [32]byte{7}, ExpiresAt: instant("2030-01-01T00:00:00.5Z")}},
			`token.create acme tok_2 null → {"id":"tok_2","name":"gw","role":"service","account":"acme","expires_at":"2030-01-01T00:00:00.5Z"}`},
		{DeleteToken{ID: "tok_2"},
			`token.delete acme tok_2 {"id":"tok_2","name":"gw","role":"service","account":"acme","expires_at":"2030-01-01T00:00:00.5Z"} → null`},
		{AdmitNode{Name: "n4", Addr: "x:1"},
			`node.admit  n4 null → {"id":"n4","num":4,"addr":"x:1"}`},
		{RemoveNode{Name: "n4"},
			`node.remove  n4 {"id":"n4","num":4,"addr":"x:1"} → {"id":"n4","num":4,"addr":"x:1"}`},
	} {
		from = d.m.s.auditSeq
		d.must(c.body)
		var got []string
		for _, e := range d.trail(AuditFilter{}) {
			if e.Seq > from {
				got = append([]string{e.Action + " " + e.Account + " " + e.Target + " " + withoutTimes(t, e.From) + " → " + withoutTimes(t, e.To)}, got...)
				if e.Index != d.index || e.At != d.now || e.Actor.ID != "tok_1" || e.Actor.IP != "203.0.113.7" {
					t.Errorf("entry %+v", e)
				}
			}
		}
		if s := strings.Join(got, "\n"); s != c.want {
			t.Errorf("%+v:\ngot  %s\nwant %s", c.body, s, c.want)
		}
	}
	if n, broken, err := d.m.VerifyAudit(); err != nil || broken != 0 || n != d.m.s.auditSeq {
		t.Errorf("VerifyAudit = %d, %d, %v", n, broken, err)
	}
}

// withoutTimes drops created_at and the like from a document and checks that they are RFC 3339.
func withoutTimes(t *testing.T, doc []byte) string {
	if doc == nil {
		return "null"
	}
	var fields map[string]any
	if err := json.Unmarshal(doc, &fields); err != nil {
		t.Fatalf("%s: %v", doc, err)
	}
	for _, f := range []string{"created_at", "updated_at", "admitted_at", "removed_at"} {
		if v, ok := fields[f].(string); ok {
			instant(v)
			doc = bytes.Replace(doc, []byte(`,"`+f+`":"`+v+`"`), nil, 1)
		}
	}
	return strings.Replace(string(doc), `,"expires_at":null`, "", 1)
}

func TestTheAuditTrailHoldsNoSecret(t *testing.T) {
	d := newDesk(t)
	digest := [32]byte([]byte("the digest of a secret, 32 bytes"))
	d.must(PutToken{Token{ID: "tok_1", Name: "root", Role: RoleRoot, Digest: digest}})
	for key, value := range d.dump() {
		if key[0] == tableAudit && strings.Contains(value, string(digest[:])) {
			t.Errorf("entry %q holds the digest", key)
		}
	}
}

func TestVerifyAuditFindsTheFirstBrokenEntry(t *testing.T) {
	damage := map[string]struct {
		broken uint64
		do     func(t *testing.T, db *pebble.DB)
	}{
		"altered": {4, func(t *testing.T, db *pebble.DB) {
			edit(t, db, 4, func(e *AuditEntry) { e.To = []byte(`{"id":"x"}`) })
		}},
		"altered, with a hash that fits": {5, func(t *testing.T, db *pebble.DB) {
			forge(t, db, 4)
		}},
		"the last, with a hash that fits": {9, func(t *testing.T, db *pebble.DB) { forge(t, db, 9) }},
		"dropped":                         {6, func(t *testing.T, db *pebble.DB) { drop(t, db, 6) }},
		"cut off":                         {9, func(t *testing.T, db *pebble.DB) { drop(t, db, 9) }},
		"garbled":                         {2, func(t *testing.T, db *pebble.DB) { _ = db.Set(auditKey(2), []byte("\x01\xc1"), nil) }},
		"the last":                        {9, func(t *testing.T, db *pebble.DB) { edit(t, db, 9, func(e *AuditEntry) { e.At++ }) }},
		"none":                            {0, func(*testing.T, *pebble.DB) {}},
	}
	for name, c := range damage {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t) // three entries: the nodes
			for _, id := range []string{"a", "b", "c", "d", "e", "f"} {
				d.must(PutAccount{ID: id})
			}
			c.do(t, committed(t, d.m))
			n, broken, err := d.m.VerifyAudit()
			if err != nil || broken != c.broken {
				t.Errorf("VerifyAudit = %d, %d, %v, want broken at %d", n, broken, err, c.broken)
			}
		})
	}
}

func edit(t *testing.T, db *pebble.DB, seq uint64, f func(*AuditEntry)) {
	t.Helper()
	var e AuditEntry
	if ok, err := getFrom(db, auditKey(seq), &e); !ok {
		t.Fatal(err)
	}
	f(&e)
	v, err := encodeValue(&e)
	if err == nil {
		err = db.Set(auditKey(seq), v, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func drop(t *testing.T, db *pebble.DB, seq uint64) {
	t.Helper()
	if err := db.Delete(auditKey(seq), nil); err != nil {
		t.Fatal(err)
	}
}

// forge alters an entry and gives it a hash that fits the entry before.
func forge(t *testing.T, db *pebble.DB, seq uint64) {
	t.Helper()
	var before AuditEntry
	if ok, err := getFrom(db, auditKey(seq-1), &before); !ok {
		t.Fatal(err)
	}
	edit(t, db, seq, func(e *AuditEntry) {
		e.Target = "other"
		e.Hash = e.chain(before.Hash)
	})
}
