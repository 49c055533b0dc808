package enforcer

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/bursar-dev/bursar/fsm"
)

func list(item string, n int) string { return strings.TrimSuffix(strings.Repeat(item+",", n), ",") }

func TestWrongChecksAreRefusedByField(t *testing.T) {
	n := newSoloNode(t)
	// %s stands for what is added to a check that is right.
	check := func(more string) string { return `{"account":"acme","entities":["alice"]` + more + `}` }
	usages := make([]string, fsm.MaxCallUsage+1)
	for i := range usages {
		usages[i] = fmt.Sprintf(`"c%d":1`, i)
	}
	for _, tc := range []struct{ name, body, field string }{
		{"empty", ``, "body"},
		{"no JSON", `{"account":`, "body"},
		{"bare word", `hello`, "body"},
		{"a list", `[]`, "body"},
		{"trailing garbage", check("") + `x`, "body"},
		{"two documents", check("") + check(""), "body"},
		{"invalid UTF-8", check(`,"model":"` + "\xff" + `"`), "body"},
		{"control character", check(",\"model\":\"a\nb\""), "body"},
		{"escaped control character", check(`,"model":"a\nb"`), "model"},
		{"half a surrogate", check(`,"model":"\ud800"`), "body"},
		{"surrogates the wrong way", check(`,"model":"\udc00\ud800"`), "body"},
		{"too deep", check(`,"usage":` + strings.Repeat("[", 9) + strings.Repeat("]", 9)), "body"},
		{"leading zero", check(`,"usage":{"tokens":01}`), "body"},
		{"NaN", check(`,"usage":{"tokens":NaN}`), "body"},
		{"unknown field", check(`,"acount":"x"`), "acount"},
		{"repeated field", check(`,"account":"acme"`), "account"},
		{"account missing", `{"entities":["alice"]}`, "account"},
		{"account null", `{"account":null,"entities":["alice"]}`, "account"},
		{"account no string", `{"account":1,"entities":["alice"]}`, "account"},
		{"account empty", `{"account":"","entities":["alice"]}`, "account"},
		{"account too long", `{"account":"` + strings.Repeat("x", 129) + `","entities":["alice"]}`, "account"},
		{"entities missing", `{"account":"acme"}`, "entities"},
		{"entities no list", `{"account":"acme","entities":"alice"}`, "entities"},
		{"entities empty", `{"account":"acme","entities":[]}`, "entities"},
		{"too many entities", `{"account":"acme","entities":[` + list(`"a"`, 17) + `]}`, "entities"},
		{"entity no string", `{"account":"acme","entities":["a",1]}`, "entities[1]"},
		{"entity empty", `{"account":"acme","entities":[""]}`, "entities[0]"},
		{"key and account", check(`,"key":"bk_x"`), "key"},
		{"usage no object", check(`,"usage":[1]`), "usage"},
		{"too many usages", check(`,"usage":{` + strings.Join(usages, ",") + `}`), "usage"},
		{"repeated capability", check(`,"usage":{"tokens":1,"tokens":2}`), "usage.tokens"},
		{"unknown capability", check(`,"usage":{"smiles":1}`), "usage.smiles"},
		{"amount negative", check(`,"usage":{"tokens":-1}`), "usage.tokens"},
		{"amount fractional", check(`,"usage":{"tokens":1.5}`), "usage.tokens"},
		{"amount with a point", check(`,"usage":{"tokens":1.0}`), "usage.tokens"},
		{"amount in exponent form", check(`,"usage":{"tokens":1e3}`), "usage.tokens"},
		{"amount over 10^18", check(`,"usage":{"tokens":1000000000000000001}`), "usage.tokens"},
		{"amount over int64", check(`,"usage":{"tokens":9223372036854775808}`), "usage.tokens"},
		{"amount over uint64", check(`,"usage":{"tokens":18446744073709551617}`), "usage.tokens"},
		{"amount a string", check(`,"usage":{"tokens":"1"}`), "usage.tokens"},
		{"amount null", check(`,"usage":{"tokens":null}`), "usage.tokens"},
		{"model no string", check(`,"model":7`), "model"},
		{"model too long", check(`,"model":"` + strings.Repeat("m", 257) + `"`), "model"},
		{"ip no address", check(`,"ip":"300.1.1.1"`), "ip"},
		{"ip with port", check(`,"ip":"10.0.0.1:80"`), "ip"},
		{"ip with zone", check(`,"ip":"fe80::1%eth0"`), "ip"},
		{"ip empty", check(`,"ip":""`), "ip"},
		{"member no string", check(`,"member":{}`), "member"},
		{"ttl too short", check(`,"reserve_ttl_ms":999`), "reserve_ttl_ms"},
		{"ttl too long", check(`,"reserve_ttl_ms":3600001`), "reserve_ttl_ms"},
		{"ttl negative", check(`,"reserve_ttl_ms":-1`), "reserve_ttl_ms"},
		{"ttl fractional", check(`,"reserve_ttl_ms":1000.5`), "reserve_ttl_ms"},
		{"ttl a string", check(`,"reserve_ttl_ms":"1000"`), "reserve_ttl_ms"},
		{"explain no bool", check(`,"explain":1`), "explain"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := n.post("/v1/check", tc.body)
			if a.status != 400 || a.code() != "invalid_request" || a.field() != tc.field {
				t.Errorf("want 400 on %s, got %d: %s", tc.field, a.status, a.text)
			}
		})
	}
	for name, body := range map[string]string{
		"the largest amount":  check(`,"usage":{"usd":1000000000000000000}`),
		"zero":                check(`,"usage":{"tokens":0}`),
		"minus zero":          check(`,"usage":{"tokens":-0}`),
		"16 entities":         `{"account":"acme","entities":[` + list(`"a"`, 16) + `]}`,
		"IPv6":                check(`,"ip":"2001:db8::1"`),
		"no reservation":      check(`,"reserve_ttl_ms":0`),
		"an emoji, escaped":   check(`,"member":"\ud83d\ude00"`),
		"an escaped name":     `{"acc\u006funt":"acme","entities":["alice"]}`,
		"blanks":              " \t\r\n" + check("") + "\n",
		"an id of 128 bytes":  `{"account":"acme","entities":["` + strings.Repeat("x", 128) + `"]}`,
		"a backslash at last": check(`,"model":"a\\"`),
	} {
		if a := n.post("/v1/check", body); a.status != 200 {
			t.Errorf("%s: %d %s", name, a.status, a.text)
		}
	}
}

func TestWrongListsAreRefusedByPath(t *testing.T) {
	n := newSoloNode(t)
	good := `{"account":"acme","entities":["alice"]}`
	event := `{"id":"e","account":"acme","entities":["alice"]}`
	for _, tc := range []struct{ path, body, field string }{
		{"/v1/checks", `{}`, "checks"},
		{"/v1/checks", `{"checks":null}`, "checks"},
		{"/v1/checks", `{"checks":[]}`, "checks"},
		{"/v1/checks", `{"checks":{}}`, "checks"},
		{"/v1/checks", `{"checks":[` + list(good, 101) + `]}`, "checks"},
		{"/v1/checks", `{"checks":[` + good + `],"more":1}`, "more"},
		{"/v1/checks", `{"checks":[` + good + `],"checks":[` + good + `]}`, "checks"},
		{"/v1/checks", `{"checks":[` + good + `,7]}`, "checks[1]"},
		{"/v1/checks", `{"checks":[` + good + `,{"account":"acme","entities":["a",""]}]}`, "checks[1].entities[1]"},
		{"/v1/checks", `{"checks":[` + good + `,{"account":"acme","entities":["a"],"usage":{"tokens":-1}}]}`, "checks[1].usage.tokens"},
		{"/v1/checks", `{"checks":[` + good + `,{"account":"acme","entities":["a"],"x":1}]}`, "checks[1].x"},
		{"/v1/ingest", ``, "body"},
		{"/v1/ingest", `{"events":[]}`, "events"},
		{"/v1/ingest", `{"events":[` + list(event, 1001) + `]}`, "events"},
		{"/v1/ingest", `{"events":[` + event + `,null]}`, "events[1]"},
		{"/v1/ingest", `{"events":[` + event + `,{"id":"f","account":"acme","entities":["alice"],"tokens":1}]}`, "events[1].tokens"},
		{"/v1/ingest", `{"events":[` + event + `,{"id":"f","id":"g","account":"acme","entities":["alice"]}]}`, "events[1].id"},
		{"/v1/ingest", `{"events":[` + event + `,{"id":"f","account":"acme","entities":["alice"],"usage":{"a":1,"a":1}}]}`, "events[1].usage.a"},
		{"/v1/ingest", `{"events":[` + event + `,{"id":"f","account":"acme","entities":["alice"],"metadata":{"a":"1","a":"1"}}]}`, "events[1].metadata.a"},
		{"/v1/ingest", `{"events":[` + event + `]} {}`, "body"},
	} {
		if a := n.post(tc.path, tc.body); a.status != 400 || a.code() != "invalid_request" || a.field() != tc.field {
			t.Errorf("%s %.200s: want 400 on %s, got %d: %.300s", tc.path, tc.body, tc.field, a.status, a.text)
		}
	}
	if used := n.used(fsm.CapRequests); used != 0 {
		t.Errorf("something of a refused body was kept: used %d", used)
	}
}

func TestAProblemNeverShowsTheBody(t *testing.T) {
	n := newSoloNode(t)
	for _, body := range []string{`{"key":"bk_secret"`, `{"key":"bk_secret","account":"acme"}`, `{"key":{"bk_secret":1}}`, `"bk_secret"`, `{"key":"bk_secret\q"}`} {
		if a := n.post("/v1/check", body); a.status != 400 || strings.Contains(a.text, "secret") {
			t.Errorf("%s: %d %s", body, a.status, a.text)
		}
	}
}

// summary is what a schema made of a body, for comparing encodings.
func summary(p *requestParser, c *Call, err error) string {
	if err != nil {
		return "malformed"
	}
	if len(p.problems) > 0 {
		return fmt.Sprint("problems ", p.problems)
	}
	return fmt.Sprintf("%q %q %v %q %q %v %q %d %v", c.Account, c.Entities, c.Usage, c.Key, c.Model, c.Tier, c.Member, c.ReserveTTL, c.Explain)
}

// TestPlainChecksAreReadInOnePass has both readers read the same, and says which
// bodies the faster one takes.
func TestPlainChecksAreReadInOnePass(t *testing.T) {
	check := func(more string) string { return `{"account":"acme","entities":["alice"]` + more + `}` }
	for _, tc := range []struct {
		body  string
		plain bool
	}{
		{check(``), true},
		{` { "account" : "acme" , "entities" : [ "b" , "a" ] , "usage" : { "tokens" : 7 , "requests" : 1 } } ` + "\r\n\t", true},
		{check(`,"usage":{"requests":1,"tokens":1200},"model":"gpt-4o","ip":"203.0.113.7","member":"m","reserve_ttl_ms":60000,"explain":true`), true},
		{check(`,"service_tier":"flex","explain":false,"reserve_ttl_ms":0`), true},
		{check(`,"usage":{"usd":999999999999999999}`), true},
		{check(`,"usage":{"tokens":0}`), true},
		{check(`,"usage":{}`), false},
		{check(`,"usage":{"usd":1000000000000000000}`), false},
		{check(`,"usage":{"tokens":-0}`), false},
		{check(`,"usage":{"tokens":00}`), false},
		{check(`,"usage":{"tokens":1.0}`), false},
		{check(`,"usage":{"tokens":1e0}`), false},
		{check(`,"usage":{"tokens":1,"tokens":1}`), false},
		{check(`,"usage":{"tokens":1,}`), false},
		{check(`,"model":null`), false},
		{check(`,"model":"\u0041"`), false},
		{check(`,"model":"ü"`), false},
		{check(`,"model":"` + "\x7f" + `"`), false},
		{check(`,"ip":"300.1.1.1"`), false},
		{check(`,"service_tier":"fast"`), false},
		{check(`,"reserve_ttl_ms":999`), false},
		{check(`,"reserve_ttl_ms":3600001`), false},
		{check(`,"explain":"true"`), false},
		{check(`,"account":"acme"`), false},
		{check(`,"more":1`), false},
		{check(`,`), false},
		{check(``) + `x`, false},
		{check(``) + "\x00", false},
		{check(``) + check(``), false},
		{`{"account":"acme","entities":["alice"]`, false},
		{`{"account":"acme","entities":["alice",]}`, false},
		{`{"account":"acme","entities":[` + list(`"a"`, 16) + `]}`, true},
		{`{"account":"acme","entities":[` + list(`"a"`, 17) + `]}`, false},
		{`{"account":"` + strings.Repeat("x", 128) + `","entities":["alice"]}`, true},
		{`{"account":"` + strings.Repeat("x", 129) + `","entities":["alice"]}`, false},
		{`{"account":"","entities":["alice"]}`, false},
		{`{"account":"acme"}`, false},
		{`{"entities":["alice"]}`, false},
		{`{"key":"bk_x"}`, false},
		{`{}`, false},
		{``, false},
	} {
		p, g := acquireParser(), acquireParser()
		var plain, general Call
		if got := p.plainCheck([]byte(tc.body), &plain); got != tc.plain {
			t.Errorf("%q: read in one pass %v, want %v", tc.body, got, tc.plain)
		} else if err := g.anyCheck([]byte(tc.body), false, &general); got && summary(p, &plain, nil) != summary(g, &general, err) {
			t.Errorf("%q: read as %s, by the general reader as %s", tc.body, summary(p, &plain, nil), summary(g, &general, err))
		}
		releaseParser(p)
		releaseParser(g)
	}
}

func FuzzCheckJSON(f *testing.F) {
	for _, s := range []string{
		`{"account":"acme","entities":["alice"],"usage":{"requests":1,"tokens":1200},"model":"gpt-4o","ip":"203.0.113.7","member":"m","reserve_ttl_ms":60000,"explain":false}`,
		`{"key":"bk_x"}`, `{"account":"\ud83d\ude00","entities":["\u0041"]}`, `{"usage":{"a":1e3}}`, `[]`, `{`, `{"a":-}`, `{"account":1.}`,
		`{"checks":[{"account":"a","entities":["b"]}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p := acquireParser()
		defer releaseParser(p)
		c, err := p.check(body, false)
		if err == nil && !json.Valid(body) {
			t.Fatalf("%q is not JSON and was read", body)
		}
		g := acquireParser()
		defer releaseParser(g)
		var general Call
		generalErr := g.anyCheck(body, false, &general)
		if a, b := summary(p, c, err), summary(g, &general, generalErr); a != b {
			t.Fatalf("%q\nread   %s\ngeneral reader %s", body, a, b)
		}
		if err != nil || len(p.problems) > 0 {
			return
		}
		// What was read is what encoding/json reads.
		var ref struct {
			Account, Key, Model, Member *string
			Entities                    []string
			Usage                       map[string]int64
			IP                          *string
			ReserveTTL                  *int64 `json:"reserve_ttl_ms"`
			Explain                     *bool
		}
		if err := json.Unmarshal(body, &ref); err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		if ref.Account != nil && *ref.Account != string(c.Account) || len(ref.Entities) != len(c.Entities) {
			t.Fatalf("%q: %q %q, want %+v", body, c.Account, c.Entities, ref)
		}
		for i, id := range ref.Entities {
			if id != string(c.Entities[i]) {
				t.Fatalf("%q: entity %d is %q, want %q", body, i, c.Entities[i], id)
			}
		}
		for _, u := range c.Usage {
			if n, ok := ref.Usage[string(u.Capability)]; ok && n != u.Amount || !ok && len(ref.Usage) > 0 {
				t.Fatalf("%q: usage %v", body, c.Usage)
			}
		}
		// The same in msgpack is read the same.
		var doc any
		if json.Unmarshal(body, &doc) != nil {
			return
		}
		packed, err := msgpack.Marshal(integers(doc))
		if err != nil {
			t.Fatal(err)
		}
		q := acquireParser()
		defer releaseParser(q)
		c2, err := q.check(packed, true)
		if a, b := summary(p, c, nil), summary(q, c2, err); a != b {
			t.Fatalf("JSON   %s\nmsgpack %s", a, b)
		}
	})
}

// integers turns the floats that encoding/json makes of numbers into integers.
func integers(v any) any {
	switch v := v.(type) {
	case float64:
		return int64(v)
	case []any:
		for i := range v {
			v[i] = integers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = integers(v[k])
		}
	}
	return v
}

func FuzzMsgpack(f *testing.F) {
	for _, v := range []any{
		map[string]any{"account": "acme", "entities": []string{"alice"}, "usage": map[string]int64{"tokens": 1 << 40}, "explain": true, "model": nil},
		map[string]any{"events": []any{map[string]any{"id": "e", "account": "a", "entities": []string{"b"}, "metadata": map[string]string{"k": "v"}}}},
		map[string]any{"usage": map[string]any{"a": -1, "b": 1.5, "c": uint64(1 << 63)}},
	} {
		b, err := msgpack.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{0xdf, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0xdb, 0xff, 0xff, 0xff, 0xff, 'x'})
	f.Add([]byte{0x81, 0xc4, 0x01, 'a', 0xc0})
	f.Fuzz(func(t *testing.T, body []byte) {
		p := acquireParser()
		defer releaseParser(p)
		v, err := parseMsgpack(body)
		if err == nil {
			var ref any
			if err := msgpack.Unmarshal(body, &ref); err != nil {
				t.Fatalf("%x was read and is no msgpack: %v", body, err)
			}
			if rest := msgpackSkip(v.msgpack); len(rest) != 0 {
				t.Fatalf("%x: %d bytes are left", body, len(rest))
			}
		}
		_, _ = p.check(body, true)
		p.reset()
		_, _ = p.events(body, true, 1e12)
	})
}

func FuzzIngestJSON(f *testing.F) {
	f.Add([]byte(`{"events":[{"id":"evt-1","account":"acme","entities":["alice"],"usage":{"requests":1,"input_tokens":800},"model":"gpt-4o","at":"2026-11-22T10:00:00Z","reservation":"rsv_000100000000000000000000000000000000","metadata":{"trace":"…"}}]}`))
	f.Add([]byte(`{"events":[{"id":"","at":"x","usage":{"a":-1},"metadata":{"a":1}}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		const now = 1_795_000_000_000
		p := acquireParser()
		defer releaseParser(p)
		items, err := p.events(body, false, now)
		if err != nil || len(p.problems) > 0 {
			return
		}
		if len(items) == 0 || len(items) > maxIngestEvents {
			t.Fatalf("%d items", len(items))
		}
		for _, it := range items {
			if it.code != "" {
				continue
			}
			ev := it.ev
			if ev.ID == "" || ev.Account == "" || len(ev.Entities) == 0 || len(ev.Usage) == 0 || ev.At <= 0 || ev.Hash == [32]byte{} {
				t.Fatalf("accepted: %+v", ev)
			}
			for i, q := range ev.Usage {
				if q.Amount < 0 || q.Amount > fsm.MaxAmount || i > 0 && ev.Usage[i-1].Capability >= q.Capability {
					t.Fatalf("usage %+v", ev.Usage)
				}
			}
		}
	})
}
