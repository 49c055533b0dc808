package enforcer

import (
	"bytes"
	"net/netip"
	"slices"
	"unsafe"

	"github.com/bursar-dev/bursar/fsm"
	"github.com/bursar-dev/bursar/fsm/price"
)

// The fields of a check.
const (
	checkAccount fieldSet = 1 << iota
	checkEntities
	checkKey
	checkUsage
	checkModel
	checkIP
	checkMember
	checkReserve
	checkExplain
	checkTier
)

func checkField(name []byte) fieldSet {
	switch string(name) {
	case "account":
		return checkAccount
	case "entities":
		return checkEntities
	case "key":
		return checkKey
	case "usage":
		return checkUsage
	case "model":
		return checkModel
	case "ip":
		return checkIP
	case "member":
		return checkMember
	case "reserve_ttl_ms":
		return checkReserve
	case "explain":
		return checkExplain
	case "service_tier":
		return checkTier
	}
	return 0
}

// call reads a check into c. What is wrong is in p.problems.
func (p *requestParser) call(v value, c *Call) {
	*c = Call{}
	if v.kind() != kindObject {
		p.problem("", "must be an object")
		return
	}
	var seen fieldSet
	before := len(p.problems)
	v.fields(func(name []byte, f value) {
		bit := checkField(name)
		if bit == 0 {
			p.unknown(name)
		} else if p.once(&seen, bit, name) && f.kind() != kindNull {
			p.callField(c, bit, f)
		}
	})
	if len(c.Usage) == 0 {
		c.Usage = oneRequest
	}
	if len(p.problems) > before {
		return
	}
	switch {
	case len(c.Key) > 0 && (len(c.Account) > 0 || len(c.Entities) > 0):
		p.problem("key", "names the account and the entity already: leave account and entities out")
	case len(c.Key) > 0:
	case len(c.Account) == 0:
		p.problem("account", "is required")
	case len(c.Entities) == 0:
		p.problem("entities", "is required: name 1 to %d", fsm.MaxCallEntities)
	}
}

// oneRequest is the usage of a call that names none.
var oneRequest = []Usage{{Capability: []byte(fsm.CapRequests), Amount: 1}}

func (p *requestParser) callField(c *Call, bit fieldSet, f value) {
	switch bit {
	case checkAccount:
		c.Account = p.text("account", f, fsm.MaxIDBytes)
	case checkEntities:
		c.Entities = p.entities(f)
	case checkKey:
		c.Key = p.text("key", f, maxKeyBytes)
	case checkUsage:
		c.Usage = p.usage(f)
	case checkModel:
		c.Model = p.text("model", f, maxModelBytes)
	case checkIP:
		p.ip(f)
	case checkMember:
		c.Member = p.text("member", f, maxMemberBytes)
	case checkReserve:
		c.ReserveTTL = p.ttl("reserve_ttl_ms", f, true)
	case checkTier:
		var ok bool
		s, wrong := f.text(maxTierBytes)
		if c.Tier, ok = price.TierOf(s); !ok || wrong != "" {
			p.problem("service_tier", "must be standard, batch, flex or priority")
		}
	case checkExplain:
		if f.kind() != kindBool {
			p.problem("explain", "must be true or false")
			return
		}
		c.Explain = f.bool()
	}
}

// text reads a string field.
func (p *requestParser) text(field string, f value, limit int) []byte {
	s, wrong := f.text(limit)
	if wrong != "" {
		p.problem(field, "%s", wrong)
		return nil
	}
	return s
}

// ip checks the caller's address. Nothing uses it before there are policies.
func (p *requestParser) ip(f value) {
	s, wrong := f.text(maxIPBytes)
	if wrong == "" && !validIP(s) {
		wrong = "must be an IPv4 or IPv6 address"
	}
	if wrong != "" {
		p.problem("ip", "%s", wrong)
	}
}

// maxIPBytes is the longest text of an address: IPv6 with an embedded IPv4.
const maxIPBytes = 45

func validIP(s []byte) bool {
	// A zone ("%eth0") means something on one machine only.
	if bytes.IndexByte(s, '%') >= 0 {
		return false
	}
	// The text is kept by an error only, and that is dropped.
	_, err := netip.ParseAddr(unsafe.String(unsafe.SliceData(s), len(s)))
	return err == nil
}

// ttl reads a reservation's life in milliseconds.
func (p *requestParser) ttl(field string, f value, zero bool) int64 {
	lowest, highest := fsm.MinReserveTTL.Milliseconds(), fsm.MaxReserveTTL.Milliseconds()
	n, whole := f.integer(&p.number)
	switch {
	case whole && (n >= lowest && n <= highest || zero && n == 0):
		return n
	case zero:
		p.problem(field, "must be an integer from %d to %d, or 0 to reserve nothing", lowest, highest)
	default:
		p.problem(field, "must be an integer from %d to %d", lowest, highest)
	}
	return 0
}

// entities reads the list of 1 to fsm.MaxCallEntities ids.
func (p *requestParser) entities(f value) [][]byte {
	if f.kind() != kindArray {
		p.problem("entities", "must be a list of ids")
		return nil
	}
	if n := f.len(); n == 0 || n > fsm.MaxCallEntities {
		p.problem("entities", "has %d ids: name 1 to %d", n, fsm.MaxCallEntities)
		return nil
	}
	start := len(p.ids)
	f.items(func(i int, item value) {
		id, wrong := item.text(fsm.MaxIDBytes)
		if wrong != "" {
			p.problem(indexed("entities", i), "%s", wrong)
			return
		}
		p.ids = append(p.ids, id)
	})
	return p.ids[start:len(p.ids):len(p.ids)]
}

// usage reads an object of amounts by capability, into ascending order.
func (p *requestParser) usage(f value) []Usage {
	if f.kind() != kindObject {
		p.problem("usage", "must be an object of amounts by capability")
		return nil
	}
	if n := f.len(); n > fsm.MaxCallUsage {
		p.problem("usage", "has %d capabilities: at most %d", n, fsm.MaxCallUsage)
		return nil
	}
	start := len(p.amounts)
	f.fields(func(name []byte, amount value) {
		if wrong := textProblem(name, fsm.MaxIDBytes); wrong != "" {
			p.problem("usage."+printable(name), "a capability's id %s", wrong)
			return
		}
		n, wrong := amount.amount(&p.number)
		if wrong != "" {
			p.problem("usage."+printable(name), "%s", wrong)
			return
		}
		p.amounts = append(p.amounts, Usage{Capability: name, Amount: n})
	})
	us := p.amounts[start:len(p.amounts):len(p.amounts)]
	slices.SortFunc(us, compareUsage)
	for i := 1; i < len(us); i++ {
		if bytes.Equal(us[i].Capability, us[i-1].Capability) {
			p.problem("usage."+printable(us[i].Capability), "is given twice")
			return nil
		}
	}
	return us
}

func compareUsage(a, b Usage) int { return bytes.Compare(a.Capability, b.Capability) }

// check reads the body of POST /v1/check. The call is valid until p is released, and the body is changed.
func (p *requestParser) check(body []byte, msgpack bool) (*Call, error) {
	p.calls = append(p.calls, Call{})
	c := &p.calls[0]
	if !msgpack && p.plainCheck(body, c) {
		return c, nil
	}
	p.ids, p.amounts = p.ids[:0], p.amounts[:0]
	return c, p.anyCheck(body, msgpack, c)
}

// anyCheck reads the body of a check, however it is written.
func (p *requestParser) anyCheck(body []byte, msgpack bool, c *Call) error {
	v, err := p.parse(body, msgpack)
	if err == nil {
		p.call(v, c)
	}
	return err
}

// checks reads the body of POST /v1/checks.
func (p *requestParser) checks(body []byte, msgpack bool) ([]Call, error) {
	v, err := p.parse(body, msgpack)
	if err != nil {
		return nil, err
	}
	p.list(v, "checks", maxChecks, func(item value) {
		p.calls = append(p.calls, Call{})
		p.call(item, &p.calls[len(p.calls)-1])
	})
	return p.calls, nil
}

// list reads a body that is an object of one list with 1 to limit items, and
// calls f for each with p.place set to it.
func (p *requestParser) list(v value, name string, limit int, f func(item value)) {
	var seen fieldSet
	var list value
	v.fields(func(field []byte, content value) {
		if string(field) != name {
			p.unknown(field)
		} else if p.once(&seen, 1, field) {
			list = content
		}
	})
	switch {
	case seen == 0 || list.kind() == kindNull:
		p.problem(name, "is required")
		return
	case list.kind() != kindArray:
		p.problem(name, "must be a list")
		return
	case list.len() == 0 || list.len() > limit:
		p.problem(name, "has %d items: send 1 to %d", list.len(), limit)
		return
	}
	list.items(func(i int, item value) {
		p.place = place{list: name, index: i}
		f(item)
	})
	p.place = place{}
}

// ttlBody reads the body of an extend.
func (p *requestParser) ttlBody(body []byte, msgpack bool) (ttl int64, err error) {
	v, err := p.parse(body, msgpack)
	if err != nil {
		return 0, err
	}
	var seen fieldSet
	v.fields(func(name []byte, f value) {
		if string(name) != "ttl_ms" {
			p.unknown(name)
		} else if p.once(&seen, 1, name) && f.kind() != kindNull {
			ttl = p.ttl("ttl_ms", f, false)
		}
	})
	if ttl == 0 && len(p.problems) == 0 {
		p.problem("ttl_ms", "is required")
	}
	return ttl, nil
}

// emptyBody checks the body of a release: nothing, or an object without fields.
func (p *requestParser) emptyBody(body []byte, msgpack bool) error {
	if len(body) == 0 {
		return nil
	}
	v, err := p.parse(body, msgpack)
	if err == nil {
		v.fields(func(name []byte, _ value) { p.unknown(name) })
	}
	return err
}
