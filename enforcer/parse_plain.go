package enforcer

import (
	"slices"

	"github.com/bursar-dev/bursar/fsm"
	"github.com/bursar-dev/bursar/fsm/price"
)

// plainCheck reads a check's JSON body into c in one pass, where it is written the
// way clients write it: known fields, each once and not null; texts of ASCII without
// escapes; amounts of at most 18 digits; an account and its entities, not a key. It
// reports false for any other body, right or wrong. The general reader then reads it from
// the beginning, and says what is wrong. What this one reads, both read alike (FuzzCheckJSON).
func (p *requestParser) plainCheck(body []byte, c *Call) bool {
	s := plainScanner{rest: body}
	if !s.take('{') {
		return false
	}
	var seen fieldSet
	for {
		name := s.text(maxFieldBytes)
		bit := checkField(name)
		if bit == 0 || seen&bit != 0 || !s.take(':') || !p.plainField(&s, c, bit) {
			return false
		}
		seen |= bit
		if !s.take(',') {
			break
		}
	}
	if len(c.Usage) == 0 {
		c.Usage = oneRequest
	}
	const who = checkAccount | checkEntities
	return s.take('}') && s.next() == 0 && len(s.rest) == 0 && seen&who == who
}

// maxFieldBytes is more than the longest name of a field.
const maxFieldBytes = 16

func (p *requestParser) plainField(s *plainScanner, c *Call, bit fieldSet) (ok bool) {
	switch bit {
	case checkAccount:
		c.Account = s.text(fsm.MaxIDBytes)
		return c.Account != nil
	case checkEntities:
		c.Entities, ok = p.plainEntities(s)
		return ok
	case checkUsage:
		c.Usage, ok = p.plainUsage(s)
		return ok
	case checkModel:
		c.Model = s.text(maxModelBytes)
		return c.Model != nil
	case checkMember:
		c.Member = s.text(maxMemberBytes)
		return c.Member != nil
	case checkIP:
		text := s.text(maxIPBytes)
		return text != nil && validIP(text)
	case checkTier:
		text := s.text(maxTierBytes)
		c.Tier, ok = price.TierOf(text)
		return ok && text != nil
	case checkReserve:
		c.ReserveTTL, ok = s.number()
		return ok && (c.ReserveTTL == 0 || c.ReserveTTL >= fsm.MinReserveTTL.Milliseconds() && c.ReserveTTL <= fsm.MaxReserveTTL.Milliseconds())
	case checkExplain:
		c.Explain = s.word("true")
		return c.Explain || s.word("false")
	}
	return false // a key
}

// plainEntities reads the list of 1 to fsm.MaxCallEntities ids.
func (p *requestParser) plainEntities(s *plainScanner) ([][]byte, bool) {
	if !s.take('[') {
		return nil, false
	}
	start := len(p.ids)
	for {
		id := s.text(fsm.MaxIDBytes)
		if id == nil || len(p.ids)-start == fsm.MaxCallEntities {
			return nil, false
		}
		p.ids = append(p.ids, id)
		if !s.take(',') {
			break
		}
	}
	return p.ids[start:len(p.ids):len(p.ids)], s.take(']')
}

// plainUsage reads an object of amounts by capability, into ascending order.
func (p *requestParser) plainUsage(s *plainScanner) ([]Usage, bool) {
	if !s.take('{') {
		return nil, false
	}
	start := len(p.amounts)
	for {
		u := Usage{Capability: s.text(fsm.MaxIDBytes)}
		if u.Capability == nil || len(p.amounts)-start == fsm.MaxCallUsage || !s.take(':') {
			return nil, false
		}
		var ok bool
		if u.Amount, ok = s.number(); !ok {
			return nil, false
		}
		at, repeated := slices.BinarySearchFunc(p.amounts[start:], u, compareUsage)
		if repeated {
			return nil, false
		}
		p.amounts = slices.Insert(p.amounts, start+at, u)
		if !s.take(',') {
			break
		}
	}
	return p.amounts[start:len(p.amounts):len(p.amounts)], s.take('}')
}

// plainScanner reads plain JSON from the front.
type plainScanner struct{ rest []byte }

// next skips blanks and returns the first byte after them; 0: there is none.
func (s *plainScanner) next() byte {
	for i, c := range s.rest {
		if c > ' ' || c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			s.rest = s.rest[i:]
			return c
		}
	}
	s.rest = nil
	return 0
}

// take takes one byte, after blanks, if it comes next.
func (s *plainScanner) take(c byte) bool {
	if len(s.rest) > 0 && s.rest[0] == c || s.next() == c {
		s.rest = s.rest[1:]
		return true
	}
	return false
}

// text takes a string of 1 to limit bytes; nil: there is none, or it is not plain.
func (s *plainScanner) text(limit int) []byte {
	if !s.take('"') {
		return nil
	}
	for i, c := range s.rest {
		switch {
		case c == '"':
			if i == 0 || i > limit {
				return nil
			}
			text := s.rest[:i:i]
			s.rest = s.rest[i+1:]
			return text
		case c < 0x20 || c >= 0x7f || c == '\\':
			return nil
		}
	}
	return nil
}

// number takes an integer of 1 to 18 digits, all of which are amounts.
func (s *plainScanner) number() (n int64, ok bool) {
	s.next()
	i := 0
	for i < len(s.rest) && s.rest[i]-'0' < 10 {
		n = n*10 + int64(s.rest[i]-'0')
		if i++; i > 18 {
			return 0, false
		}
	}
	ok = i == 1 || i > 1 && s.rest[0] != '0'
	s.rest = s.rest[i:]
	return n, ok // what follows it is seen by who takes the next byte
}

// word takes a literal.
func (s *plainScanner) word(w string) bool {
	s.next()
	if len(s.rest) < len(w) || string(s.rest[:len(w)]) != w {
		return false
	}
	s.rest = s.rest[len(w):]
	return true
}
