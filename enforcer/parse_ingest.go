package enforcer

import (
	"fmt"
	"time"

	"github.com/bursar-dev/bursar/fsm"
	"github.com/bursar-dev/bursar/fsm/price"
)

// The codes of rejected events. A rejected event is not recorded, and never will
// be as it is.
const (
	RejectID          = "invalid_id"           // id: a string of 1 to 128 bytes
	RejectAccount     = "invalid_account"      // account: the same, required
	RejectEntities    = "invalid_entities"     // entities: 1 to 16 ids, required
	RejectUsage       = "invalid_usage"        // usage: an object of at most 32 capabilities
	RejectAmount      = "invalid_amount"       // an amount: an integer from 0 to 10^18
	RejectTime        = "invalid_time"         // at: RFC 3339, not too far off
	RejectModel       = "invalid_model"        // model: a string of at most 256 bytes
	RejectTier        = "invalid_service_tier" // service_tier: standard, batch, flex or priority
	RejectMember      = "invalid_member"       // member: the same
	RejectReservation = "invalid_reservation"  // reservation: no text of 1 to 128 bytes
	RejectMetadata    = "invalid_metadata"     // metadata: at most 32 pairs of strings, 4 KiB together
	RejectKeyUnknown  = "key_unknown"          // key: no such key
	RejectNoAccount   = "account_unknown"      // the account does not exist
	RejectCapability  = "capability_unknown"   // a capability that was never defined
	RejectConflict    = "id_conflict"          // the id was used before with another body
)

// rejectCodes are all of them.
var rejectCodes = []string{RejectID, RejectAccount, RejectEntities, RejectUsage, RejectAmount, RejectTime, RejectModel, RejectTier, RejectMember,
	RejectReservation, RejectMetadata, RejectKeyUnknown, RejectNoAccount, RejectCapability, RejectConflict}

// ingestItem is one event of an ingest and what becomes of it.
type ingestItem struct {
	ev      *fsm.Event
	sentID  string // the id as it is shown in the answer, cut short if it is too long to be one
	code    string // rejected
	detail  string
	outcome fsm.EventOutcome // Settled: accepted; 0: not known yet
	quorum  bool
}

func (it *ingestItem) reject(code, format string, args ...any) {
	if it.code == "" {
		it.code, it.detail = code, fmt.Sprintf(format, args...)
	}
}

// The fields of an event.
const (
	eventID fieldSet = 1 << iota
	eventAccount
	eventEntities
	eventKeyField
	eventUsage
	eventModel
	eventMember
	eventAt
	eventReservation
	eventMetadata
	eventTier
)

func eventField(name []byte) fieldSet {
	switch string(name) {
	case "id":
		return eventID
	case "account":
		return eventAccount
	case "entities":
		return eventEntities
	case "key":
		return eventKeyField
	case "usage":
		return eventUsage
	case "model":
		return eventModel
	case "member":
		return eventMember
	case "at":
		return eventAt
	case "reservation":
		return eventReservation
	case "metadata":
		return eventMetadata
	case "service_tier":
		return eventTier
	}
	return 0
}

// events reads the body of POST /v1/ingest, received at now (Unix milliseconds).
// A body that is no list of 1 to maxIngestEvents objects, or has an unknown or
// repeated field anywhere, is refused as a whole: what is wrong is in p.problems.
// Whatever else is wrong rejects its event alone. Nothing returned points into the body.
func (p *requestParser) events(body []byte, msgpack bool, now int64) ([]ingestItem, error) {
	v, err := p.parse(body, msgpack)
	if err != nil {
		return nil, err
	}
	var items []ingestItem
	p.list(v, "events", maxIngestEvents, func(item value) {
		items = append(items, p.event(item, now))
	})
	return items, nil
}

func (p *requestParser) event(v value, now int64) ingestItem {
	ev := &fsm.Event{ReceivedAt: now}
	it := ingestItem{ev: ev}
	if v.kind() != kindObject {
		p.problem("", "must be an object")
		return it
	}
	var seen fieldSet
	v.fields(func(name []byte, f value) {
		bit := eventField(name)
		if bit == 0 {
			p.unknown(name)
		} else if p.once(&seen, bit, name) && f.kind() != kindNull {
			p.eventField(&it, bit, f)
		}
	})
	switch {
	case ev.ID == "":
		it.reject(RejectID, "id is required: a string of 1 to %d bytes", fsm.MaxIDBytes)
	case ev.Key != "":
		it.reject(RejectKeyUnknown, "key is not known")
	case ev.Account == "":
		it.reject(RejectAccount, "account is required")
	case len(ev.Entities) == 0:
		it.reject(RejectEntities, "entities is required: name 1 to %d", fsm.MaxCallEntities)
	}
	if len(ev.Usage) == 0 {
		ev.Usage = []fsm.Quantity{{Capability: fsm.CapRequests, Amount: 1}}
	}
	given := ev.At != 0
	ev.Hash = canonicalHash(ev, given)
	if !given {
		ev.At = now
	}
	return it
}

func (p *requestParser) eventField(it *ingestItem, bit fieldSet, f value) {
	ev := it.ev
	switch bit {
	case eventID:
		ev.ID = it.text(RejectID, "id", f, fsm.MaxIDBytes)
		if it.sentID = ev.ID; f.kind() == kindString && ev.ID == "" {
			it.sentID = printable(f.bytes())
		}
	case eventAccount:
		ev.Account = it.text(RejectAccount, "account", f, fsm.MaxIDBytes)
	case eventEntities:
		it.entities(f)
	case eventKeyField:
		// Only that there is one is kept: a key is a secret.
		if it.text(RejectKeyUnknown, "key", f, maxKeyBytes) != "" {
			ev.Key = "unknown"
		}
	case eventUsage:
		p.eventUsage(it, f)
	case eventModel:
		ev.Model = it.text(RejectModel, "model", f, maxModelBytes)
	case eventMember:
		ev.Member = it.text(RejectMember, "member", f, maxMemberBytes)
	case eventAt:
		it.at(f)
	case eventReservation:
		ev.Reservation = it.text(RejectReservation, "reservation", f, fsm.MaxIDBytes)
	case eventMetadata:
		p.eventMetadata(it, f)
	case eventTier:
		it.tier(f)
	}
}

// text reads a string field, or rejects the event.
func (it *ingestItem) text(code, field string, f value, limit int) string {
	s, wrong := f.text(limit)
	if wrong != "" {
		it.reject(code, "%s %s", field, wrong)
		return ""
	}
	return string(s)
}

func (it *ingestItem) entities(f value) {
	if f.kind() != kindArray {
		it.reject(RejectEntities, "entities must be a list of ids")
		return
	}
	if n := f.len(); n == 0 || n > fsm.MaxCallEntities {
		it.reject(RejectEntities, "entities has %d ids: name 1 to %d", n, fsm.MaxCallEntities)
		return
	}
	f.items(func(i int, item value) {
		if id := it.text(RejectEntities, indexed("entities", i), item, fsm.MaxIDBytes); id != "" {
			it.ev.Entities = append(it.ev.Entities, id)
		}
	})
}

// eventUsage reads the amounts, ascending by capability.
func (p *requestParser) eventUsage(it *ingestItem, f value) {
	if f.kind() != kindObject {
		it.reject(RejectUsage, "usage must be an object of amounts by capability")
		return
	}
	if n := f.len(); n > fsm.MaxCallUsage {
		it.reject(RejectUsage, "usage has %d capabilities: at most %d", n, fsm.MaxCallUsage)
		return
	}
	f.fields(func(name []byte, amount value) {
		capability := printable(name)
		if wrong := textProblem(name, fsm.MaxIDBytes); wrong != "" {
			it.reject(RejectUsage, "usage: a capability's id %s", wrong)
			return
		}
		n, wrong := amount.amount(&p.number)
		if wrong != "" {
			it.reject(RejectAmount, "usage.%s %s", capability, wrong)
			return
		}
		i := 0
		for i < len(it.ev.Usage) && it.ev.Usage[i].Capability < string(name) {
			i++
		}
		if i < len(it.ev.Usage) && it.ev.Usage[i].Capability == string(name) {
			p.problem("usage."+capability, "is given twice")
			return
		}
		it.ev.Usage = append(it.ev.Usage, fsm.Quantity{})
		copy(it.ev.Usage[i+1:], it.ev.Usage[i:])
		it.ev.Usage[i] = fsm.Quantity{Capability: string(name), Amount: n}
	})
}

// at reads the event's time.
func (it *ingestItem) at(f value) {
	s, wrong := f.text(maxTimeBytes)
	var t time.Time
	if wrong == "" && t.UnmarshalText(s) != nil {
		wrong = "must be a time as RFC 3339 has it, such as 2026-11-22T10:00:00Z"
	}
	ms := t.UnixMilli()
	now := it.ev.ReceivedAt
	switch {
	case wrong != "":
	case ms > now+fsm.MaxFuture.Milliseconds():
		wrong = fmt.Sprintf("lies more than %v ahead of this node's clock", fsm.MaxFuture)
	case ms < now-fsm.MaxPast.Milliseconds():
		wrong = fmt.Sprintf("lies more than %d days back", int(fsm.MaxPast.Hours()/24))
	}
	if wrong != "" {
		it.reject(RejectTime, "at %s", wrong)
		return
	}
	it.ev.At = ms
}

// tier reads the service tier that the model was used in.
func (it *ingestItem) tier(f value) {
	var ok bool
	s, wrong := f.text(maxTierBytes)
	if it.ev.Tier, ok = price.TierOf(s); !ok || wrong != "" {
		it.reject(RejectTier, "service_tier must be standard, batch, flex or priority")
	}
}

// maxTimeBytes is longer than any RFC 3339 text of a time.
const maxTimeBytes = 64

func (p *requestParser) eventMetadata(it *ingestItem, f value) {
	if f.kind() != kindObject {
		it.reject(RejectMetadata, "metadata must be an object of strings")
		return
	}
	if n := f.len(); n > fsm.MaxMetadataPairs {
		it.reject(RejectMetadata, "metadata has %d pairs: at most %d", n, fsm.MaxMetadataPairs)
		return
	}
	size := 0
	m := make(map[string]string, f.len())
	f.fields(func(name []byte, v value) {
		if wrong := textProblem(name, fsm.MaxIDBytes); wrong != "" {
			it.reject(RejectMetadata, "metadata: a key %s", wrong)
			return
		}
		if v.kind() != kindString {
			it.reject(RejectMetadata, "metadata.%s must be a string", printable(name))
			return
		}
		if _, twice := m[string(name)]; twice {
			p.problem("metadata."+printable(name), "is given twice")
			return
		}
		m[string(name)] = string(v.bytes())
		size += len(name) + len(v.bytes())
	})
	if size > fsm.MaxMetadataBytes {
		it.reject(RejectMetadata, "metadata has %d bytes: at most %d", size, fsm.MaxMetadataBytes)
	}
	it.ev.Metadata = m
}
