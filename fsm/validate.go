package fsm

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// idMarks are the characters an id may have besides ASCII letters and digits.
// E-mail addresses, host names, model names with a tag and the subjects of identity
// providers ("auth0|5f7c") are ids. A slash, a comma, a space or a quote is not in:
// ids stand in URL paths, comma-separated queries and CSV files. Bytes outside ASCII are
// not either, because two ids could then look alike and differ.
const idMarks = "._-:@+~=|'"

// ValidID reports whether id may name an entity, an account, a type, a capability or
// anything else a caller names: 1 to MaxIDBytes ASCII letters, digits and any of . _ - : @ + ~ = | ',
// and neither "." nor "..", which a URL path cannot carry. Case matters.
func ValidID[T ~string | ~[]byte](id T) bool { return idFault(string(id)) == "" }

// idFault says what is wrong with an id and how to mend it, or "".
func idFault(id string) string {
	switch {
	case id == "":
		return fmt.Sprintf("is empty; give an id of 1 to %d bytes", MaxIDBytes)
	case len(id) > MaxIDBytes:
		return fmt.Sprintf("is %d bytes long; shorten it to at most %d", len(id), MaxIDBytes)
	case id == "." || id == "..":
		return fmt.Sprintf("is %q, which a URL path cannot carry; add a letter or a digit", id)
	}
	for i, r := range id {
		if r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || strings.ContainsRune(idMarks, r) && r != utf8.RuneError {
			continue
		}
		return fmt.Sprintf("has %q at byte %d; use only ASCII letters, digits and %s", r, i, idMarks)
	}
	return ""
}

// nameFault says what is wrong with a display name, or "". An empty name is fine.
func nameFault(name string) string {
	if len(name) > MaxNameBytes {
		return fmt.Sprintf("is %d bytes long; shorten it to at most %d", len(name), MaxNameBytes)
	}
	return textFault(name)
}

// textFault says what is wrong with a text that people read, or "".
func textFault(s string) string {
	if !utf8.ValidString(s) {
		return "is not UTF-8; send it as UTF-8"
	}
	for i, r := range s {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return fmt.Sprintf("has the control character %q at byte %d; remove it", r, i)
		}
	}
	return ""
}

// faults collects what is wrong with a request, field by field. The zero value is ready.
type faults struct {
	fields []FieldError
	more   int // not kept, because there were too many
}

// maxFieldErrors bounds the list of an answer: whoever sent that many is helped by the first ones.
const maxFieldErrors = 50

func (f *faults) add(field, format string, args ...any) {
	if len(f.fields) == maxFieldErrors {
		f.more++
		return
	}
	f.fields = append(f.fields, FieldError{Field: field, Message: fmt.Sprintf(format, args...)})
}

// err returns the rejection, or nil if nothing was wrong.
func (f *faults) err() *Error {
	if len(f.fields) == 0 {
		return nil
	}
	e := &Error{Code: CodeInvalid, Fields: f.fields, Message: f.fields[0].Field + ": " + f.fields[0].Message}
	if n := len(f.fields) - 1 + f.more; n > 0 {
		e.Message += fmt.Sprintf(" (and %d more)", n)
	}
	return e
}

// check adds fault under field unless it is "".
func (f *faults) check(field, fault string) {
	if fault != "" {
		f.add(field, "%s", fault)
	}
}

func (f *faults) id(field, id string)     { f.check(field, idFault(id)) }
func (f *faults) name(field, name string) { f.check(field, nameFault(name)) }

// size checks the number of items of a bulk write.
func (f *faults) size(field string, n int) {
	if n < 1 || n > MaxBulk {
		f.add(field, "has %d items; send 1 to %d at a time", n, MaxBulk)
	}
}

// repeats adds a fault for every id that an earlier item of a bulk write has.
func (f *faults) repeats(list string, n int, id func(int) string) {
	seen := make(map[string]int, n)
	for i := range n {
		if first, ok := seen[id(i)]; ok {
			f.add(item(list, i)+".id", "is %q, as in %s; send each once", id(i), item(list, first))
			continue
		}
		seen[id(i)] = i
	}
}

func (f *faults) metadata(field string, m map[string]string) {
	if len(m) > MaxMetadataPairs {
		f.add(field, "has %d entries; keep at most %d", len(m), MaxMetadataPairs)
		return
	}
	total := 0
	for _, k := range slices.Sorted(maps.Keys(m)) {
		total += len(k) + len(m[k])
		switch fault := cmp.Or(textFault(k), textFault(m[k])); {
		case k == "":
			f.add(field, "has an empty key; name it")
		case fault != "":
			f.add(field, "entry %q %s", k, fault)
		}
	}
	if total > MaxMetadataBytes {
		f.add(field, "is %d bytes of keys and values; keep at most %d", total, MaxMetadataBytes)
	}
}

// item names one item of a list in an error: entities[3].
func item(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }

// below names a field below prefix, which may be empty.
func below(prefix, field string) string {
	if prefix == "" {
		return field
	}
	return prefix + "." + field
}

// Validate reports a cadence that cannot be computed as an *Error naming the
// fields below prefix.
func (c Cadence) Validate(prefix string) error {
	var f faults
	c.faults(&f, prefix)
	if err := f.err(); err != nil {
		return err
	}
	return nil
}

func (c Cadence) faults(f *faults, prefix string) {
	switch c.Every {
	case EveryMinute, EveryHour, EveryDay, EveryWeek, EveryMonth, EveryQuarter, EveryYear, EveryNever:
	default:
		f.add(below(prefix, "every"), "is %q; use minute, hour, day, week, month, quarter, year or never", c.Every)
	}
	if _, err := loadZone(c.Timezone); err != nil {
		f.add(below(prefix, "timezone"), "is %q, which the IANA time zone database does not have; use a name like Europe/Berlin or UTC", c.Timezone)
	}
	switch {
	case !c.Anchored:
	case c.Every == EveryNever:
		f.add(below(prefix, "anchor"), "has no meaning where every is never; leave it out")
	case c.Anchor < minTime || c.Anchor > maxTime:
		f.add(below(prefix, "anchor"), "lies outside the years 2 to 9998; move it")
	}
}

// normal returns the form in which a valid cadence is stored and compared.
func (c Cadence) normal() Cadence {
	if c.Timezone == "" {
		c.Timezone = "UTC"
	}
	if !c.Anchored {
		c.Anchor = 0
	}
	return c
}
