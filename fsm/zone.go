package fsm

import (
	"archive/zip"
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"sync"
	"time"
)

// Time zones must mean the same on every replica and on every machine, because
// periods are part of the replicated state. time.LoadLocation does not promise that: it
// reads $ZONEINFO and the operating system's files before it falls back on what
// time/tzdata embeds, and what that embeds depends on the Go release. So the
// IANA database is pinned here, and nothing else is ever consulted.
//
// zoneinfo.zip is release 2025c of the database (public domain), as compiled and
// shipped in lib/time of Go 1.26. Replacing it can move the boundaries of periods: do it
// in a release of its own, upgraded on all nodes within the same period.
//
//go:embed zoneinfo.zip
var zoneinfo []byte

// zone is a time zone. It is immutable and safe for concurrent use.
type zone struct {
	loc *time.Location // nil: UTC, without a look-up
}

var utc = &zone{}

// zones caches what loadZone read. Only names in the database get in, so it
// holds some 600 at most.
var zones sync.Map // string → *zone

// zoneFiles indexes the database by name.
var zoneFiles = sync.OnceValue(func() map[string]*zip.File {
	r, err := zip.NewReader(bytes.NewReader(zoneinfo), int64(len(zoneinfo)))
	if err != nil {
		panic("the embedded time zone database is damaged: " + err.Error())
	}
	files := make(map[string]*zip.File, len(r.File))
	for _, f := range r.File {
		if !f.FileInfo().IsDir() {
			files[f.Name] = f
		}
	}
	return files
})

// zoneOf returns the zone with the name, or UTC if there is none.
func zoneOf(name string) *zone {
	if z, err := loadZone(name); err == nil {
		return z
	}
	return utc
}

// loadZone returns the zone with the IANA name. Names are case-sensitive; empty
// is UTC, and so is "UTC".
func loadZone(name string) (*zone, error) {
	if name == "" || name == "UTC" {
		return utc, nil
	}
	if z, ok := zones.Load(name); ok {
		return z.(*zone), nil
	}
	f := zoneFiles()[name]
	if f == nil {
		return nil, fmt.Errorf("no time zone is called %q", name)
	}
	r, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("time zone %q: %w", name, err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("time zone %q: %w", name, err)
	}
	loc, err := time.LoadLocationFromTZData(name, data)
	if err != nil {
		return nil, fmt.Errorf("time zone %q: %w", name, err)
	}
	z, _ := zones.LoadOrStore(name, &zone{loc: loc})
	return z.(*zone), nil
}

// span is a stretch of time, [from, until) in Unix milliseconds, in which a zone keeps
// one offset, in milliseconds east of UTC. The next one may have the same offset.
type span struct {
	from, until int64
	offset      int64
}

// maxOffset exceeds every offset from UTC ever kept: Alaska's 15:13:42 before 1867 is the widest.
const maxOffset = 16 * hourMS

// span returns the span that contains at.
func (z *zone) span(at int64) span {
	s := span{from: -1 << 63, until: Forever}
	if z.loc == nil {
		return s
	}
	t := time.UnixMilli(at).In(z.loc)
	_, offset := t.Zone()
	s.offset = int64(offset) * 1000
	from, until := t.ZoneBounds()
	if !from.IsZero() {
		s.from = from.UnixMilli()
	}
	if !until.IsZero() {
		s.until = until.UnixMilli()
	}
	return s
}

// first returns the first instant at which the wall clock shows local or later.
// It is monotone in local. hint is any span of the zone; it is replaced by the
// one the instant lies in.
func (z *zone) first(local int64, hint *span) int64 {
	for range 2 {
		at := local - hint.offset
		if hint.from <= at-2*maxOffset && at < hint.until || z.loc == nil {
			return at // before hint.from every clock showed less than local
		}
		*hint = z.span(at)
	}
	// Near a change of the clocks. Before local − maxOffset no clock can show local. From there on, span by span.
	for s := z.span(local - maxOffset); ; s = z.span(s.until) {
		if at := max(s.from, local-s.offset); at < s.until {
			*hint = s
			return at
		}
	}
}

// unchangedSince returns the latest instant, not before start, at which the offset
// became that of s; start or less if it did not change since.
func (z *zone) unchangedSince(s span, start int64) int64 {
	offset := s.offset
	for s.from > start {
		before := z.span(s.from - 1)
		if before.offset != offset {
			break
		}
		s = before
	}
	return s.from
}

// unchangedUntil is the mirror of unchangedSince: the first instant, if it is
// before end, at which the offset is another.
func (z *zone) unchangedUntil(s span, end int64) int64 {
	offset := s.offset
	for s.until < end {
		after := z.span(s.until)
		if after.offset != offset {
			break
		}
		s = after
	}
	return s.until
}

// Location returns the time zone with the IANA name from the database that is pinned here, for
// writing times as an account sees them. Empty is UTC.
func Location(name string) (*time.Location, error) {
	z, err := loadZone(name)
	if err != nil {
		return nil, err
	}
	if z.loc == nil {
		return time.UTC, nil
	}
	return z.loc, nil
}
