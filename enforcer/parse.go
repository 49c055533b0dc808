package enforcer

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/valyala/fastjson"

	"github.com/bursar-dev/bursar/fsm"
)

// Requests are read in two steps: the bytes are checked as a whole document, JSON
// or msgpack, and then walked field by field by the schemas in parse_check.go and
// parse_ingest.go, which know nothing of the encoding. A null is a field left out.

// requestParser reads bodies. It is pooled: what it returns points into it and
// into the body.
type requestParser struct {
	json    fastjson.Parser
	calls   []Call
	ids     [][]byte // of all calls, in order
	amounts []Usage  // of all calls, in order
	number  []byte   // scratch

	problems []fsm.FieldError
	place    place
}

// place is where in the body the parser is: an item of a list, or the body itself.
type place struct {
	list  string // empty: the body
	index int
}

const (
	maxBodyDepth    = 8     // levels of nesting; the deepest of ours is 5
	maxProblems     = 16    // reported of one request
	maxModelBytes   = 256   // model
	maxTierBytes    = 16    // service_tier
	maxMemberBytes  = 256   // member
	maxKeyBytes     = 256   // key
	maxParsedKeep   = 4_096 // ids or amounts a pooled parser keeps memory for
	maxChecks       = 100
	maxIngestEvents = 1_000
)

// errMalformed is returned for a body that is no document of its encoding.
var errMalformed = errors.New("malformed body")

var parserPool = sync.Pool{New: func() any { return new(requestParser) }}

func acquireParser() *requestParser {
	p := parserPool.Get().(*requestParser)
	p.reset()
	return p
}

func releaseParser(p *requestParser) {
	if cap(p.ids) <= maxParsedKeep && cap(p.amounts) <= maxParsedKeep {
		p.reset()
		parserPool.Put(p)
	}
}

// reset forgets the request, so that a pooled parser keeps no body alive.
func (p *requestParser) reset() {
	clear(p.calls)
	clear(p.ids)
	clear(p.amounts)
	p.calls, p.ids, p.amounts = p.calls[:0], p.ids[:0], p.amounts[:0]
	p.problems, p.place = nil, place{}
}

// parse reads a body as one document, whose top level must be an object.
func (p *requestParser) parse(body []byte, msgpack bool) (value, error) {
	var v value
	var err error
	if msgpack {
		v, err = parseMsgpack(body)
	} else {
		v, err = parseJSON(&p.json, body)
	}
	if err == nil && v.kind() != kindObject {
		err = fmt.Errorf("%w: the body must be an object", errMalformed)
	}
	return v, err
}

// problem notes what is wrong with a field of the present place.
func (p *requestParser) problem(field, format string, args ...any) {
	if len(p.problems) >= maxProblems {
		return
	}
	if p.place.list != "" {
		at := fmt.Sprintf("%s[%d]", p.place.list, p.place.index)
		if field != "" {
			at += "." + field
		}
		field = at
	}
	p.problems = append(p.problems, fsm.FieldError{Field: field, Message: fmt.Sprintf(format, args...)})
}

// fieldSet marks which known fields of an object were met, a bit each.
type fieldSet uint32

// once reports whether a field is met for the first time, and complains if not.
func (p *requestParser) once(seen *fieldSet, bit fieldSet, name []byte) bool {
	if *seen&bit != 0 {
		p.problem(printable(name), "is given twice")
		return false
	}
	*seen |= bit
	return true
}

func (p *requestParser) unknown(name []byte) { p.problem(printable(name), "is not a known field") }

func indexed(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }

// maxShownBytes is how much of a text that may be of any length stands in an answer.
const maxShownBytes = 64

// printable is a field name or an id as it is shown in an answer: all of it, or
// its beginning with an ellipsis.
func printable(text []byte) string {
	if len(text) > maxShownBytes {
		cut := maxShownBytes
		for !utf8.RuneStart(text[cut]) && cut > 0 {
			cut--
		}
		text = append(text[:cut:cut], "…"...)
	}
	return strings.ToValidUTF8(string(text), "\uFFFD")
}

// text reads a string of 1 to limit bytes without control characters. wrong says
// what it is instead; empty: nothing is wrong.
func (v value) text(limit int) (s []byte, wrong string) {
	if v.kind() != kindString {
		return nil, "must be a string"
	}
	s = v.bytes()
	return s, textProblem(s, limit)
}

func textProblem(s []byte, limit int) string {
	if len(s) == 0 {
		return "must not be empty"
	}
	if len(s) > limit {
		return fmt.Sprintf("is longer than %d bytes", limit)
	}
	for _, c := range s {
		if c < 0x20 || c == 0x7f {
			return "must not contain control characters"
		}
	}
	return ""
}

// amount reads an integer from 0 to fsm.MaxAmount.
func (v value) amount(scratch *[]byte) (n int64, wrong string) {
	n, whole := v.integer(scratch)
	switch {
	case v.kind() != kindNumber:
		return 0, "must be an integer"
	case !whole:
		return 0, "must be an integer without fraction or exponent, at most 10^18"
	case n < 0:
		return 0, "must not be negative"
	case n > fsm.MaxAmount:
		return 0, "must be at most 10^18"
	}
	return n, ""
}
