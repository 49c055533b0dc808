package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bursar-dev/bursar/fsm/price"
)

// bodies has one command of each kind, every field set.
func bodies() []Body {
	k := BudgetKey{Assignment: 7, Start: testStart}
	a := Assignment{
		ID: "asg_1", Num: 7, Account: "acme", Entity: "alice", Capability: CapTokens, Scope: []string{"p"},
		Cadence: Cadence{Every: EveryDay, Timezone: "Europe/Berlin", Anchor: 3, Anchored: true},
		Limit:   10, Unlimited: true, Enforcement: Soft, Mode: Allocated, Thresholds: []int{50}, BirthFrom: 1, CreatedAt: 2, UpdatedAt: 3,
	}
	e := Event{
		Account: "acme", ID: "e1", Hash: [32]byte{1}, Entities: []string{"alice"}, Chain: []string{"alice", "acme"},
		Key: "k", Member: "m", Model: "gpt", Usage: []Quantity{{CapTokens, 5}}, At: 1, ReceivedAt: 2, Node: 3,
		Tier: price.Flex, Pricing: &Pricing{Version: 3, Model: "gpt", Unpriced: true, Terms: []price.Term{
			{Usage: price.InputTokens, Field: 1, Quantity: 5, Decimals: 2, Price: price.Decimal{Coef: 25, Scale: 7}}}},
		Reservation: "rsv_1", Unattributed: true, Metadata: map[string]string{"a": "b"},
		Lines: []Line{{Budget: k, Amount: 5, Drawn: 4, On: 2}},
	}
	return []Body{
		Init{"c", 5, 10_000}, PutAccount{"acme", "Acme", "Europe/Berlin"}, FreezeAccount{"acme", true},
		PutEntityTypes{[]EntityType{{"user", "User", []string{"team"}}}},
		PutCapabilities{[]Capability{{"images", "image", 2, true}}},
		PutEntities{"acme", []Entity{{Account: "acme", ID: "alice", Type: "user", Parent: "acme", Name: "Alice", Metadata: map[string]string{"x": "y"}, Archived: true, CreatedAt: 1, UpdatedAt: 2}}},
		ArchiveEntity{"acme", "alice", true}, MoveEntity{"acme", "alice", "p"},
		PutAssignments{"acme", []AssignmentPut{{a, true}}}, DeleteAssignment{"acme", "asg_1"},
		PutToken{Token{"tok_1", "ci", RoleRoot, "acme", [32]byte{9}, 1, 2}}, DeleteToken{"tok_1"},
		Reconcile{[]Part{{
			Node: 1, Boot: 2, ReleaseFloor: 3, Events: []Event{e}, Releases: []Release{{1, k, 2, true, 3}},
			Asks: []Ask{{k, 1, 2, 3}}, Exits: []Exit{{k, 4}},
		}}},
		AdmitNode{"n1", "x:1"}, RemoveNode{"n1"}, BootNode{1, 2}, DeadNode{1}, RecoverNode{1, 2},
		DrainNode{1, 2, []Keep{{k, 3}}}, Forfeit{"n1", true},
		Backup{}, Restore{"c", "n1", DoubtCharged}, EndDoubt{},
		PutPrices{testStart, []price.Entry{{Name: "gpt", Provider: "openai", Aliases: []string{"x"}, Prices: []price.Price{{Field: 1, Value: price.Decimal{Coef: 25, Scale: 7}}}}}},
		Correct{"acme", []Correction{{"c", "e", KindReprice, []Quantity{{CapUSD, 3}}, &Pricing{Version: 2}, "why"}}},
		FinalizeStatement{Number: "INV-7", Head: StatementHead{
			Account: "acme", ID: "2026-10", From: 1, To: 2, Timezone: "UTC", Layout: StatementLayout{"team", 1, true}, Previous: "2026-09", After: 3, Through: 4,
			Lines: StatementLines{1, 2, 3, 4, [32]byte{5}}, Totals: []StatementTotal{{CapUSD, "USD", 9, 1, 2, -3, 0}},
			Invoice: Invoice{"INV-7", 1, 2, Party{"Bursar", []string{"Street 1"}, "DE1", "a@b"}, Party{Name: "Acme"}, "note", "USD", CapUSD}, FinalizedAt: 5, Index: 6,
		}, Rows: StatementRows{
			Usage:       []StatementRow{{Entity: "p", Name: "P", Model: "gpt", Lines: 1, Events: 1, Usage: []Quantity{{CapUSD, 2}}}},
			Adjustments: []StatementRow{{Kind: KindVoid, Period: 1, Reason: "twice", Lines: 1, Events: -1, Usage: []Quantity{{CapUSD, -3}}}},
		}},
		PutInvoice{"acme", InvoiceSettings{Party{Name: "Bursar"}, Party{Name: "Acme"}, "note", "EUR", CapUSD, 14, NumberSequence{"INV-", 4, 7}, 5, StatementLayout{Depth: 2}, 6}},
		SetRetention{"acme", Retention{400, true}},
		MarkExported{"acme", 64, [32]byte{1}},
		DropLines{"acme", 64},
	}
}

func encoded(t testing.TB, b Body) []byte {
	t.Helper()
	data, err := Encode(&Command{ID: "id", At: 5, Leader: 2, Actor: Actor{"token", "tok", "ci", "::1"}, Body: b})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestEveryCommandSurvivesTheLog(t *testing.T) {
	kinds := map[kind]bool{}
	for _, b := range bodies() {
		kinds[b.kind()] = true
		got, err := Decode(encoded(t, b))
		if err != nil {
			t.Errorf("%T: %v", b, err)
			continue
		}
		want := &Command{ID: "id", At: 5, Leader: 2, Actor: Actor{"token", "tok", "ci", "::1"}, Body: b}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%T (-want +got):\n%s", b, diff)
		}
	}
	for k := kindInit; k <= kindPutInvoice; k++ {
		if !kinds[k] {
			t.Errorf("kind %d is not among the test's bodies", k)
		}
	}
}

func TestDamagedCommandIsRejected(t *testing.T) {
	data := encoded(t, bodies()[12])
	for i := range data {
		for bit := range 8 {
			bad := bytes.Clone(data)
			bad[i] ^= 1 << bit
			if _, err := Decode(bad); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("bit %d of byte %d flipped: %v, want %v", bit, i, err, ErrCorrupt)
			}
		}
		if _, err := Decode(data[:i]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut to %d bytes: %v, want %v", i, err, ErrCorrupt)
		}
	}
}

// seal gives data, a command with any content, a matching checksum.
func seal(data []byte) []byte {
	binary.BigEndian.PutUint32(data[3:], commandCRC(data))
	return data
}

func TestUnknownCommandIsRejected(t *testing.T) {
	edit := func(f func(data []byte) []byte) []byte { return seal(f(encoded(t, Init{"c", 5, 10_000}))) }
	unknownField, err := appendMsgpack(encoded(t, BootNode{1, 2})[:commandHeader], map[string]any{"id": "x", "new": 1})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"magic":   edit(func(d []byte) []byte { d[0]++; return d }),
		"version": edit(func(d []byte) []byte { d[1]++; return d }),
		"kind 0":  edit(func(d []byte) []byte { d[2] = 0; return d }),
		"kind":    edit(func(d []byte) []byte { d[2] = 200; return d }),
		"no body": edit(func(d []byte) []byte { return d[:commandHeader+3] }),
		"tail":    edit(func(d []byte) []byte { return append(d, 1) }),
		"field":   seal(unknownField),
		"large":   seal(make([]byte, MaxCommandBytes+1)),
	} {
		if _, err := Decode(data); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v, want %v", name, err, ErrCorrupt)
		}
	}
}

func TestEncodeRefusesWhatTheLogCannotCarry(t *testing.T) {
	if _, err := Encode(&Command{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("without a body: %v, want %v", err, ErrInvalid)
	}
	big := PutAccount{ID: "acme", Name: string(make([]byte, MaxCommandBytes))}
	if _, err := Encode(&Command{Body: big}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("with 16 MiB of name: %v, want %v", err, ErrTooLarge)
	}
}

// A corrupt entry changes nothing but the applied index, on every replica alike.
func TestCorruptEntryIsAnOutcome(t *testing.T) {
	r := newRig(t)
	before, _ := r.m.Applied()
	_, sum := r.m.Checksum()
	out, err := r.m.Apply([]Entry{{Index: before + 1, Term: 1, Data: []byte("what is this")}})
	if err != nil {
		t.Fatal(err)
	}
	if !errors.Is(out[0].Err, ErrCorrupt) || out[0].Index != before+1 {
		t.Errorf("outcome %+v, want corrupt at %d", out[0], before+1)
	}
	if index, got := r.m.Checksum(); index != before+1 || got != sum {
		t.Errorf("index %d and sum %x, want %d and %x", index, got, before+1, sum)
	}
}

// FuzzApply feeds whatever decodes, and much that does not, to a machine.
func FuzzApply(f *testing.F) {
	for _, b := range bodies() {
		data := encoded(f, b)
		f.Add(data[2], data[commandHeader:])
	}
	r := newRig(f)
	r.assign(1000)
	f.Fuzz(func(t *testing.T, k byte, payload []byte) {
		data := seal(append([]byte{commandMagic, commandVersion, k, 0, 0, 0, 0}, payload...))
		if c, err := Decode(data); err == nil {
			again, err := Encode(c)
			if err != nil {
				t.Fatalf("%+v decodes and does not encode: %v", c, err)
			}
			c2, err := Decode(again)
			if err != nil {
				t.Fatalf("%+v: %v", c, err)
			}
			if diff := cmp.Diff(c, c2, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("decoded, then encoded and decoded:\n%s", diff)
			}
		}
		r.index++
		if _, err := r.m.Apply([]Entry{{Index: r.index, Term: 1, Data: data}}); err != nil {
			t.Fatal(err)
		}
	})
}

// A release that reads version 1 only rejects a kind that it does not know, so every other does, too.
func TestKindsAreUnknownInVersionsBeforeTheirs(t *testing.T) {
	for _, body := range []Body{FinalizeStatement{}, PutInvoice{}, SetRetention{}, MarkExported{}, DropLines{}} {
		c := &Command{ID: "c", At: 1, Leader: 1, Body: body}
		for version := uint8(FirstLogVersion); version <= LogVersion; version++ {
			known := version >= Since(body)
			if _, err := EncodeVersion(c, version); known != (err == nil) || !known && !errors.Is(err, ErrReleases) {
				t.Errorf("%T is encoded as version %d: %v", body, version, err)
			}
			data, err := Encode(c)
			if err != nil {
				t.Fatal(err)
			}
			data[1] = version
			if data, err = complete(data); err != nil {
				t.Fatal(err)
			}
			if _, err := Decode(data); known != (err == nil) || !known && !errors.Is(err, ErrCorrupt) {
				t.Errorf("%T of version %d is decoded: %v", body, version, err)
			}
		}
		if Since(body) == FirstLogVersion {
			t.Errorf("%T is in version 1", body)
		}
	}
}
