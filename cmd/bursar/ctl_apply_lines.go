package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/bursar-dev/bursar/client"
)

// A configuration of any size is a file of lines, each a JSON object with one key, which says what it is:
//
//	{"entity_type": {"id": "team"}}
//	{"account": {"id": "acme", "name": "Acme"}}
//	{"entity": {"id": "team-a", "type": "team"}}
//	{"assignment": {"entity": "team-a", "capability": "usd", "limit": 250.00, "cadence": "month"}}
//
// Entities and assignments are of the account named last. It is read as it is written: memory does not grow with the file.

const (
	maxConfigurationLine = 1 << 20 // bytes
	linesAhead           = 2       // writes that are decoded while another is under way
)

// isLines reports whether a file of this name has a configuration line by line.
func isLines(name string) bool {
	return slices.Contains([]string{".ndjson", ".jsonl"}, filepath.Ext(name))
}

// configurationLine is a line.
type configurationLine struct {
	EntityType *entityTypeSpec `json:"entity_type"`
	Capability *capabilitySpec `json:"capability"`
	Account    *accountLine    `json:"account"`
	Entity     *entitySpec     `json:"entity"`
	Assignment *assignmentSpec `json:"assignment"`
}

// accountLine names the account that the lines after it belong to. One with a name is created, or gets that name.
type accountLine struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Timezone string `json:"timezone"`
}

// UnmarshalJSON keeps the text of a number, or of a string.
func (a *amountSpec) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &a.text)
	}
	var n json.Number
	if err := json.Unmarshal(b, &n); err != nil || n == "" {
		return fmt.Errorf("a limit is an amount or %q", unlimited)
	}
	a.text = n.String()
	return nil
}

// UnmarshalJSON accepts an object, or a bare word.
func (c *cadenceSpec) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &c.Every)
	}
	type object cadenceSpec
	return strictJSON(b, (*object)(c))
}

// strictJSON decodes all of b into v and refuses a field that v does not have.
func strictJSON(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the object")
	}
	return nil
}

// lineWrite is one write: items of one kind from several lines.
type lineWrite struct {
	account string
	lines   []int // of the items
	read    int   // the line up to which everything is in this write or one before it

	types       []client.EntityType
	caps        []client.Capability
	accounts    []client.Account
	entities    []client.Entity
	assignments []client.Assignment
}

// lineReader reads lines and gathers them into writes.
type lineReader struct {
	s       *session
	from    int // lines before it were written by an earlier run
	send    func(*lineWrite) error
	account string
	line    int // under way

	// Under way. Assignments may wait for entities that come after them in the file, but not the other way round.
	types, caps, entities, assignments lineWrite
}

// read reads a file to its end.
func (r *lineReader) read(ctx context.Context, in io.Reader) error {
	scanner := bufio.NewScanner(in)
	scanner.Buffer(make([]byte, 64<<10), maxConfigurationLine)
	for scanner.Scan() {
		r.line++
		text := bytes.TrimSpace(scanner.Bytes())
		if len(text) == 0 {
			continue
		}
		var l configurationLine
		err := strictJSON(text, &l)
		if err == nil {
			err = r.take(ctx, &l)
		}
		if err != nil {
			return r.at(err)
		}
	}
	if err := scanner.Err(); err != nil {
		r.line++
		return r.at(err)
	}
	if r.line == 0 {
		return usageError{errors.New("it is empty")}
	}
	return r.flush(&r.assignments)
}

// at says on which line something was found. What a write was answered says so itself.
func (r *lineReader) at(err error) error {
	if errors.Is(err, errWriting) {
		return err
	}
	if errors.Is(err, bufio.ErrTooLong) {
		err = fmt.Errorf("it is longer than %d bytes", maxConfigurationLine)
	}
	return usageError{fmt.Errorf("line %d: %w", r.line, err)}
}

// errWriting ends reading because a write failed.
var errWriting = errors.New("a write failed")

func (r *lineReader) take(ctx context.Context, l *configurationLine) error {
	given := 0
	for _, is := range []bool{l.EntityType != nil, l.Capability != nil, l.Account != nil, l.Entity != nil, l.Assignment != nil} {
		if is {
			given++
		}
	}
	if given != 1 {
		return errors.New("it has to be one of entity_type, capability, account, entity and assignment")
	}
	switch {
	case l.Account != nil:
		return r.takeAccount(l.Account)
	case l.EntityType != nil:
		r.types.types = append(r.types.types, l.EntityType.wire())
		return r.added(&r.types, len(r.types.types))
	case l.Capability != nil:
		c := l.Capability.wire()
		r.s.known()[c.ID] = c // the amounts that follow are written so, if the cluster takes it
		r.caps.caps = append(r.caps.caps, c)
		return r.added(&r.caps, len(r.caps.caps))
	case r.account == "":
		return errors.New(`it comes before the account that it belongs to; begin with {"account": {"id": …}}`)
	case l.Entity != nil:
		r.entities.entities = append(r.entities.entities, l.Entity.wire())
		return r.added(&r.entities, len(r.entities.entities))
	}
	a, err := l.Assignment.wire(ctx, r.s)
	if err != nil {
		return err
	}
	r.assignments.assignments = append(r.assignments.assignments, a)
	return r.added(&r.assignments, len(r.assignments.assignments))
}

func (r *lineReader) takeAccount(a *accountLine) error {
	if a.ID == "" {
		return errors.New("an account needs an id")
	}
	if err := r.flush(&r.assignments); err != nil {
		return err
	}
	r.account = a.ID
	if a.Name == "" || r.line < r.from {
		return nil
	}
	return r.send(&lineWrite{accounts: []client.Account{{ID: a.ID, Name: a.Name, Timezone: a.Timezone}}, lines: []int{r.line}, read: r.line})
}

// added notes the line of what was added to a write, which has n items.
func (r *lineReader) added(w *lineWrite, n int) error {
	if r.line < r.from {
		*w = lineWrite{}
		return nil
	}
	w.lines = append(w.lines, r.line)
	if n < maxBulk {
		return nil
	}
	return r.flush(w)
}

// flush sends a write after those that it may refer to.
func (r *lineReader) flush(last *lineWrite) error {
	order := []*lineWrite{&r.types, &r.caps, &r.entities, &r.assignments}
	for i, w := range order {
		if len(w.lines) > 0 {
			w.account, w.read = r.account, r.line
			for _, later := range order[i+1:] {
				if len(later.lines) > 0 {
					w.read = min(w.read, later.lines[0]-1)
				}
			}
			full := *w
			*w = lineWrite{}
			if err := r.send(&full); err != nil {
				return err
			}
		}
		if w == last {
			return nil
		}
	}
	return nil
}

// put does a write and counts it.
func (w *lineWrite) put(ctx context.Context, s *session, done *applied) (err error) {
	switch {
	case w.types != nil:
		_, err = s.PutEntityTypes(ctx, w.types)
	case w.caps != nil:
		_, err = s.PutCapabilities(ctx, w.caps)
	case w.accounts != nil:
		_, err = s.PutAccount(ctx, w.accounts[0])
	case w.entities != nil:
		_, err = s.PutEntities(ctx, w.account, w.entities)
	case w.assignments != nil:
		_, err = s.PutAssignments(ctx, w.account, w.assignments)
	}
	if err != nil {
		return w.explain(err)
	}
	done.EntityTypes += len(w.types)
	done.Capabilities += len(w.caps)
	done.Accounts += len(w.accounts)
	done.Entities += len(w.entities)
	done.Assignments += len(w.assignments)
	return nil
}

// itemField is how an answer names an item of a write.
var itemField = regexp.MustCompile(`^\w+\[(\d+)\]`)

// explain says which lines a write was of, and which of them the answer names.
func (w *lineWrite) explain(err error) error {
	first, last := w.lines[0], w.lines[len(w.lines)-1]
	where := fmt.Sprintf("lines %d to %d", first, last)
	if first == last {
		where = fmt.Sprintf("line %d", first)
	}
	var p *client.Problem
	if errors.As(err, &p) {
		for _, f := range p.Errors {
			if m := itemField.FindStringSubmatch(f.Field); m != nil {
				if i, _ := strconv.Atoi(m[1]); i < len(w.lines) {
					where = fmt.Sprintf("line %d", w.lines[i])
					break
				}
			}
		}
	}
	return fmt.Errorf("%s: %w", where, err)
}

// applyLines applies a configuration line by line, from a line on.
func applyLines(ctx context.Context, s *session, in io.Reader, from int, live *progress, done *applied) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	writes := make(chan *lineWrite, linesAhead)
	var reading error
	go func() {
		defer close(writes)
		r := &lineReader{s: s, from: from, send: func(w *lineWrite) error {
			select {
			case writes <- w:
				return nil
			case <-ctx.Done():
				return errWriting
			}
		}}
		reading = r.read(ctx, in)
	}()
	began, written := time.Now(), from-1
	for w := range writes {
		if err := w.put(ctx, s, done); err != nil {
			cancel()
			for range writes {
				continue // until the reader has seen it
			}
			return cutOff(err, written)
		}
		written = max(written, w.read)
		if items := done.Entities + done.Assignments; items > 0 {
			live.step("line %d: %d entities, %d assignments, %.0f a second", written, done.Entities, done.Assignments, float64(items)/time.Since(began).Seconds())
		}
	}
	if reading != nil {
		return cutOff(reading, written)
	}
	return nil
}

// cutOff says how a run that ended with err goes on.
func cutOff(err error, written int) error {
	if written == 0 {
		return err
	}
	return fmt.Errorf("%w\nEverything before line %d is written: run the same command again, or add --from-line %d", err, written+1, written+1)
}
