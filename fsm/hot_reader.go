package fsm

import "errors"

// hotReader decodes the msgpack values that a node reads by the million when it opens: entities and
// assignments. It reads what encodeValue writes, many times faster than msgpack's
// reflection, and shares the words that most of them repeat. A value with a field that it does not know is left to decodeValue.
type hotReader struct {
	lineReader
	words  words
	kept   texts // that live as long as the entity
	passed texts // that somebody replaces by texts of his own, most of them soon

	strange bool // a field that this reader does not know
}

// words are strings that many values repeat: accounts, types, capabilities, time zones and the like.
type words map[string]string

// maxWords bounds them. Of more, every value has its own.
const maxWords = 1 << 16

// texts are copies of texts, cut out of pieces of memory that many share: one lives as long as the last of its piece.
type texts struct{ room []byte }

// textsPiece is the size of a piece, in bytes.
const textsPiece = 8 << 10

func (t *texts) copy(b []byte) string {
	if len(b) > cap(t.room)-len(t.room) {
		if len(b) > textsPiece/8 {
			return string(b)
		}
		t.room = make([]byte, 0, textsPiece)
	}
	from := len(t.room)
	t.room = append(t.room, b...)
	return view(t.room[from:])
}

var errHot = errors.New("the value is damaged")

// decodeHot decodes a stored value into v. Of an assignment, id and entity may be views of the value.
func decodeHot[T any](r *hotReader, value []byte, v *T, read func(*hotReader, *T)) error {
	*v = *new(T)
	if len(value) == 0 || value[0] != valueVersion {
		return decodeValue(value, v)
	}
	r.lineReader, r.strange = lineReader{rest: value[1:]}, false
	if read(r, v); r.strange {
		*v = *new(T)
		return decodeValue(value, v)
	}
	if r.bad || len(r.rest) > 0 {
		return errHot
	}
	return nil
}

// word takes a text that many values have.
func (r *hotReader) word() string {
	b := r.text()
	if w, ok := r.words[string(b)]; ok {
		return w
	}
	w := string(b)
	if len(r.words) < maxWords {
		r.words[w] = w
	}
	return w
}

// list calls f for each item of a list.
func (r *hotReader) list(f func()) {
	for n := r.length(0x90, 0xdc); n > 0 && !r.bad && !r.strange; n-- {
		f()
	}
}

func (r *hotReader) entity(e *Entity) {
	for n := r.length(0x80, 0xde); n > 0 && !r.bad; n-- {
		switch string(r.text()) {
		case "account":
			e.Account = r.word()
		case "id":
			e.ID = r.kept.copy(r.text())
		case "type":
			e.Type = r.word()
		case "parent":
			e.Parent = r.passed.copy(r.text())
		case "name":
			e.Name = r.kept.copy(r.text())
		case "metadata":
			e.Metadata = map[string]string{}
			for n := r.length(0x80, 0xde); n > 0 && !r.bad; n-- {
				k := r.word()
				e.Metadata[k] = r.kept.copy(r.text())
			}
		case "archived":
			e.Archived = r.flag()
		case "archived_by":
			e.ArchivedBy = r.word()
		case "created_at":
			e.CreatedAt = r.number()
		case "updated_at":
			e.UpdatedAt = r.number()
		default:
			r.strange = true
			return
		}
	}
}

func (r *hotReader) assignment(a *Assignment) {
	for n := r.length(0x80, 0xde); n > 0 && !r.bad; n-- {
		switch string(r.text()) {
		case "id":
			a.ID = view(r.text())
		case "num":
			a.Num = uint64(r.number())
		case "account":
			a.Account = r.word()
		case "entity":
			a.Entity = view(r.text())
		case "capability":
			a.Capability = r.word()
		case "scope":
			r.list(func() { a.Scope = append(a.Scope, string(r.text())) })
		case "cadence":
			r.cadence(&a.Cadence)
		case "limit":
			a.Limit = r.number()
		case "unlimited":
			a.Unlimited = r.flag()
		case "enforcement":
			a.Enforcement = Enforcement(r.word())
		case "mode":
			a.Mode = Mode(r.word())
		case "thresholds":
			r.list(func() { a.Thresholds = append(a.Thresholds, int(r.number())) })
		case "backfill":
			a.Backfill = r.flag()
		case "birth_from":
			a.BirthFrom = r.number()
		case "created_at":
			a.CreatedAt = r.number()
		case "updated_at":
			a.UpdatedAt = r.number()
		default:
			r.strange = true
			return
		}
	}
}

func (r *hotReader) cadence(c *Cadence) {
	for n := r.length(0x80, 0xde); n > 0 && !r.bad; n-- {
		switch string(r.text()) {
		case "e":
			c.Every = Every(r.word())
		case "z":
			c.Timezone = r.word()
		case "n":
			c.Anchor = r.number()
		case "h":
			c.Anchored = r.flag()
		default:
			r.strange = true
			return
		}
	}
}
