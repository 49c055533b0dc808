package enforcer

import (
	"time"

	"github.com/bursar-dev/bursar/fsm"
)

// encoder writes an answer, in JSON or msgpack by the same calls. It is pooled
// with its buffer. encode_json.go and encode_msgpack.go have the two forms.
type encoder struct {
	b       []byte
	msgpack bool
	frames  [maxAnswerDepth]frame
	depth   int
}

// maxAnswerDepth is one more than the deepest answer: items, chain, cadence.
const maxAnswerDepth = 7

// frame is an object or array that is being written.
type frame struct {
	at    int // where its head stands in b
	count int // fields or items so far
}

func (w *encoder) reset(msgpack bool) { w.b, w.msgpack, w.depth = w.b[:0], msgpack, 0 }

func (w *encoder) begin(object bool) {
	w.frames[w.depth] = frame{at: len(w.b)}
	w.depth++
	if w.msgpack {
		w.b = appendMsgpackHead(w.b, object)
	} else {
		w.b = appendJSONOpen(w.b, object)
	}
}

func (w *encoder) end(object bool) {
	w.depth--
	if w.msgpack {
		setMsgpackCount(w.b[w.frames[w.depth].at:], w.frames[w.depth].count)
	} else {
		w.b = appendJSONClose(w.b, object)
	}
}

// item comes before each item of an array, and within key.
func (w *encoder) item() {
	f := &w.frames[w.depth-1]
	if f.count++; f.count > 1 && !w.msgpack {
		w.b = append(w.b, ',')
	}
}

// key comes before each field of an object.
func (w *encoder) key(name string) {
	w.item()
	w.string(name)
	if !w.msgpack {
		w.b = append(w.b, ':')
	}
}

func (w *encoder) string(s string) {
	if w.msgpack {
		w.b = appendMsgpackString(w.b, s)
	} else {
		w.b = appendJSONString(w.b, s)
	}
}

func (w *encoder) int(n int64) {
	if w.msgpack {
		w.b = appendMsgpackInt(w.b, n)
	} else {
		w.b = appendJSONInt(w.b, n)
	}
}

func (w *encoder) bool(v bool) {
	if w.msgpack {
		w.b = appendMsgpackBool(w.b, v)
	} else {
		w.b = appendJSONBool(w.b, v)
	}
}

func (w *encoder) null() {
	if w.msgpack {
		w.b = append(w.b, msgpackNil)
	} else {
		w.b = append(w.b, "null"...)
	}
}

// time writes Unix milliseconds as RFC 3339 in UTC, in both encodings.
func (w *encoder) time(ms int64) {
	var text [len(time.RFC3339Nano)]byte
	w.bytes(time.UnixMilli(ms).UTC().AppendFormat(text[:0], time.RFC3339Nano))
}

// bytes writes ASCII text that needs no escapes.
func (w *encoder) bytes(s []byte) {
	if w.msgpack {
		w.b = append(appendMsgpackStringHead(w.b, len(s)), s...)
		return
	}
	w.b = append(w.b, '"')
	w.b = append(w.b, s...)
	w.b = append(w.b, '"')
}

func (w *encoder) stringField(name, s string) {
	w.key(name)
	w.string(s)
}

func (w *encoder) intField(name string, n int64) {
	w.key(name)
	w.int(n)
}

func (w *encoder) boolField(name string, v bool) {
	w.key(name)
	w.bool(v)
}

// decision writes the answer of a check.
func (w *encoder) decision(d *Decision, explain bool) {
	w.begin(true)
	w.boolField("allowed", d.Allowed)
	w.stringField("code", string(d.Code))
	if d.Allowed {
		w.granted(d)
	} else {
		w.refused(d)
	}
	if explain {
		w.key("chain")
		w.begin(false)
		for i := range d.Chain {
			w.item()
			w.chainRow(&d.Chain[i])
		}
		w.end(false)
	}
	w.intField("index", int64(d.Index))
	w.end(true)
}

func (w *encoder) granted(d *Decision) {
	if d.ReservationN > 0 {
		w.key("reservation")
		w.bytes(d.Reservation[:d.ReservationN])
		w.key("expires_at")
		w.time(d.ExpiresAt)
	}
	w.key("remaining")
	w.begin(true)
	for _, r := range d.Remaining {
		w.intField(r.Capability, r.Amount)
	}
	w.end(true)
	w.key("warnings")
	w.begin(false)
	for i := range d.Warnings {
		r := &d.Warnings[i]
		w.item()
		w.begin(true)
		w.stringField("code", "soft_limit_exceeded")
		w.stringField("entity", r.Assignment.Entity)
		w.stringField("capability", r.Assignment.Capability)
		w.intField("limit", r.Limit)
		w.intField("used", r.Used)
		w.end(true)
	}
	w.end(false)
}

func (w *encoder) refused(d *Decision) {
	if d.RetryAfter > 0 {
		w.intField("retry_after_ms", d.RetryAfter)
	}
	a := d.Denied.Assignment
	if a == nil {
		return
	}
	w.key("denied_by")
	w.begin(true)
	w.stringField("entity", a.Entity)
	w.stringField("type", d.Denied.EntityType)
	w.stringField("capability", a.Capability)
	w.scope(a.Scope)
	w.cadence(a.Cadence)
	w.intField("limit", d.Denied.Limit)
	w.intField("used", d.Denied.Used)
	w.intField("reserved", d.Denied.Reserved)
	w.intField("requested", d.Requested)
	w.resetsAt(d.Denied.End)
	w.end(true)
}

func (w *encoder) chainRow(r *Row) {
	a := r.Assignment
	w.begin(true)
	w.stringField("entity", a.Entity)
	w.stringField("type", r.EntityType)
	w.key("parent")
	if r.Parent == "" {
		w.null()
	} else {
		w.string(r.Parent)
	}
	w.stringField("capability", a.Capability)
	w.scope(a.Scope)
	w.cadence(a.Cadence)
	w.stringField("enforcement", string(a.Enforcement))
	w.limited("limit", r.Limit, a.Unlimited)
	w.intField("used", r.Used)
	w.intField("reserved", r.Reserved)
	w.limited("remaining", r.Remaining, a.Unlimited)
	w.key("period_start")
	w.time(r.Start)
	w.resetsAt(r.End)
	w.boolField("allowed", r.Allowed)
	w.end(true)
}

func (w *encoder) scope(ids []string) {
	w.key("scope")
	w.begin(false)
	for _, id := range ids {
		w.item()
		w.string(id)
	}
	w.end(false)
}

func (w *encoder) cadence(c fsm.Cadence) {
	w.key("cadence")
	w.begin(true)
	w.stringField("every", string(c.Every))
	w.stringField("timezone", c.Timezone)
	if c.Anchored {
		w.key("anchor")
		w.time(c.Anchor)
	}
	w.end(true)
}

// limited writes an amount, or null where the assignment is unlimited.
func (w *encoder) limited(name string, n int64, unlimited bool) {
	w.key(name)
	if unlimited {
		w.null()
	} else {
		w.int(n)
	}
}

func (w *encoder) resetsAt(end int64) {
	w.key("resets_at")
	if end == fsm.Forever {
		w.null()
	} else {
		w.time(end)
	}
}

// ingested writes the answer of an ingest.
func (w *encoder) ingested(items []ingestItem) (quorum bool) {
	var accepted, duplicates int64
	quorum = true
	for i := range items {
		switch it := &items[i]; {
		case it.code != "":
			continue
		case it.outcome == fsm.Duplicate:
			duplicates++
		default:
			accepted++
		}
		quorum = quorum && items[i].quorum
	}
	w.begin(true)
	w.intField("accepted", accepted)
	w.intField("duplicates", duplicates)
	w.key("rejected")
	w.begin(false)
	for i := range items {
		if it := &items[i]; it.code != "" {
			w.item()
			w.begin(true)
			w.intField("index", int64(i))
			w.stringField("id", it.sentID)
			w.stringField("code", it.code)
			w.stringField("detail", it.detail)
			w.end(true)
		}
	}
	w.end(false)
	w.stringField("durability", durability(quorum))
	w.end(true)
	return quorum
}

func durability(quorum bool) string {
	if quorum {
		return "quorum"
	}
	return "node"
}

// released writes the answer of a release.
func (w *encoder) released(amounts []fsm.Quantity) {
	w.begin(true)
	w.key("released")
	w.begin(true)
	for _, q := range amounts {
		w.intField(q.Capability, q.Amount)
	}
	w.end(true)
	w.end(true)
}

// extended writes the answer of an extend.
func (w *encoder) extended(expires int64) {
	w.begin(true)
	w.key("expires_at")
	w.time(expires)
	w.end(true)
}
