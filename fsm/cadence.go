package fsm

import "time"

// Every is the length of a cadence's periods.
type Every string

// The cadences.
const (
	EveryMinute  Every = "minute"
	EveryHour    Every = "hour"
	EveryDay     Every = "day"
	EveryWeek    Every = "week" // starts on Monday (ISO 8601) unless anchored
	EveryMonth   Every = "month"
	EveryQuarter Every = "quarter"
	EveryYear    Every = "year"
	EveryNever   Every = "never" // one period, for ever
)

// Cadence says when a budget starts anew.
//
// Days and longer follow the wall clock of the time zone: they begin at local
// midnight, or at the anchor's local time of day, so a day has 23 or 25 hours when
// the clocks change. Where the clocks skip that time, the period begins at the end of
// the gap; where they show it twice, at the first of the two. Weeks begin on Monday,
// quarters in January, April, July and October, unless anchored. An anchor on a day
// that a month lacks means that month's last day, and the anchor's day again after it.
//
// Hours and minutes begin where the wall clock shows a full one. A change of the
// clocks ends the present one, so that none is longer than it should be. Anchored, they
// are elapsed time from the anchor.
type Cadence struct {
	Every    Every  `msgpack:"e"`
	Timezone string `msgpack:"z,omitempty"` // IANA name; empty is stored as "UTC"
	Anchor   int64  `msgpack:"n,omitempty"` // Unix milliseconds a period starts at; 0: calendar boundaries
	Anchored bool   `msgpack:"h,omitempty"`
}

// Forever is the end of a period that never ends.
const Forever = int64(1<<63 - 1)

// The lengths of a day and less, in milliseconds.
const (
	minuteMS = int64(60_000)
	hourMS   = 60 * minuteMS
	dayMS    = 24 * hourMS
)

// minTime and maxTime bound the times that Period computes with: the years 2 to
// 9998 in UTC, so that every boundary around them can be written as RFC 3339.
// Times outside count as the nearest inside.
var (
	minTime = time.Date(2, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	maxTime = time.Date(9998, 12, 31, 0, 0, 0, 0, time.UTC).UnixMilli()
)

// mondayDay is a Monday, 29 December 1969, in days since 1 January 1970.
const mondayDay = -3

// Period returns the period that contains at, as [start, end) in Unix
// milliseconds. Periods tile time: the end of one is the start of the next.
// The one period of EveryNever is [0, Forever).
//
// The cadence must be valid. A time zone that is unknown counts as UTC, which
// only a cadence that was never validated can meet.
//
//	month in UTC                          at 2026-02-10T12:00Z   [2026-02-01T00:00Z, 2026-03-01T00:00Z)
//	day in Europe/Berlin                  at 2026-03-29T12:00Z   [2026-03-28T23:00Z, 2026-03-29T22:00Z)  23 hours
//	month in UTC anchored 2026-01-31      at 2026-03-01T00:00Z   [2026-02-28T00:00Z, 2026-03-31T00:00Z)
func (c Cadence) Period(at int64) (start, end int64) {
	at = min(max(at, minTime), maxTime)
	switch c.Every {
	case EveryMinute:
		return c.clockPeriod(at, minuteMS)
	case EveryHour:
		return c.clockPeriod(at, hourMS)
	case EveryDay, EveryWeek, EveryMonth, EveryQuarter, EveryYear:
		return c.calendarPeriod(at)
	}
	return 0, Forever
}

// clockPeriod returns the period of a cadence of minutes or hours.
func (c Cadence) clockPeriod(at, step int64) (start, end int64) {
	if c.Anchored {
		start = at - floorMod(at-c.Anchor, step)
		return start, start + step
	}
	z := zoneOf(c.Timezone)
	s := z.span(at)
	start = at - floorMod(at+s.offset, step)
	end = start + step
	// The common case needs no more look-ups: the clocks do not change within it.
	return max(start, z.unchangedSince(s, start)), min(end, z.unchangedUntil(s, end))
}

// calendarPeriod returns the period of a cadence of days or longer. Boundaries
// are numbered, boundary(k) never decreases with k, and the period is that of
// the k with boundary(k) ≤ at < boundary(k+1): so periods tile time whatever the
// clocks do, and a day that a zone skipped altogether is nobody's.
func (c Cadence) calendarPeriod(at int64) (start, end int64) {
	z := zoneOf(c.Timezone)
	hint := z.span(at)
	cal := newCalendar(c, z)
	k := cal.guess(at + hint.offset)
	start = cal.boundary(k, &hint)
	for start > at {
		k--
		start = cal.boundary(k, &hint)
	}
	for {
		end = cal.boundary(k+1, &hint)
		if end > at {
			return start, end
		}
		k, start = k+1, end
	}
}

// calendar is the sequence of a cadence's boundaries on the wall clock: number 0
// is the anchor, or a calendar boundary near 1970. Local times are written as
// the Unix milliseconds at which a clock in UTC shows them.
type calendar struct {
	zone     *zone
	months   int64 // step of month, quarter and year: 1, 3 or 12
	days     int64 // step of day and week: 1 or 7
	first    int64 // month or day number of boundary 0, since January 1970
	monthDay int   // with months: the day wanted, 1..31
	clock    int64 // time of day, in milliseconds
	anchored bool
	anchor   int64
}

func newCalendar(c Cadence, z *zone) calendar {
	cal := calendar{zone: z, monthDay: 1, anchored: c.Anchored, anchor: c.Anchor}
	var local int64
	if c.Anchored {
		local = c.Anchor + z.span(c.Anchor).offset
		cal.clock = floorMod(local, dayMS)
	}
	switch c.Every {
	case EveryDay, EveryWeek:
		cal.days, cal.first = 1, floorDiv(local, dayMS)
		if c.Every == EveryWeek {
			cal.days = 7
			if !c.Anchored {
				cal.first = mondayDay
			}
		}
		return cal
	case EveryMonth:
		cal.months = 1
	case EveryQuarter:
		cal.months = 3
	default:
		cal.months = 12
	}
	if c.Anchored {
		cal.first, cal.monthDay = monthOf(local)
	}
	return cal
}

// guess returns the number of a boundary near the local time: at most one off.
func (cal *calendar) guess(local int64) int64 {
	if cal.days > 0 {
		return floorDiv(local-cal.clock-cal.first*dayMS, cal.days*dayMS)
	}
	month, _ := monthOf(local)
	return floorDiv(month-cal.first, cal.months)
}

// boundary returns the instant of boundary k. hint is any span of the zone and
// is replaced by the one the boundary lies in; a near one saves look-ups.
//
// Boundary 0 of an anchored cadence is the anchor itself, also where the wall
// clock showed its time before (the second pass of a fold).
func (cal *calendar) boundary(k int64, hint *span) int64 {
	if cal.anchored && k == 0 {
		return cal.anchor
	}
	at := cal.zone.first(cal.local(k), hint)
	switch {
	case !cal.anchored:
		return at
	case k > 0:
		return max(at, cal.anchor)
	}
	return min(at, cal.anchor)
}

// local returns the local time of boundary k.
func (cal *calendar) local(k int64) int64 {
	if cal.days > 0 {
		return (cal.first+k*cal.days)*dayMS + cal.clock
	}
	month := cal.first + k*cal.months
	year, m := int(1970+floorDiv(month, 12)), time.Month(1+floorMod(month, 12))
	return time.Date(year, m, min(cal.monthDay, monthLength(year, m)), 0, 0, 0, 0, time.UTC).UnixMilli() + cal.clock
}

// monthOf returns the month of a local time, counted from January 1970, and the day in it.
func monthOf(local int64) (month int64, day int) {
	y, m, d := time.UnixMilli(local).UTC().Date()
	return int64(y-1970)*12 + int64(m) - 1, d
}

func monthLength(year int, m time.Month) int {
	switch m {
	case time.April, time.June, time.September, time.November:
		return 30
	case time.February:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// floorDiv and floorMod divide rounding down, for times before 1970. b > 0.
func floorDiv(a, b int64) int64 { return (a - floorMod(a, b)) / b }

func floorMod(a, b int64) int64 {
	if m := a % b; m < 0 {
		return m + b
	} else {
		return m
	}
}
