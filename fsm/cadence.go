package fsm

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
type Cadence struct {
	Every    Every  `msgpack:"e"`
	Timezone string `msgpack:"z,omitempty"` // IANA name; empty is stored as "UTC"
	Anchor   int64  `msgpack:"n,omitempty"` // Unix milliseconds a period starts at; 0: calendar boundaries
	Anchored bool   `msgpack:"h,omitempty"`
}

// Forever is the end of a period that never ends.
const Forever = int64(1<<63 - 1)

// Period returns the period that contains at, as [start, end) in Unix
// milliseconds. Periods tile time: the end of one is the start of the next.
// The one period of EveryNever is [0, Forever).
func (c Cadence) Period(at int64) (start, end int64) { panic("unwritten") }

// Validate reports a cadence that cannot be computed as an *Error naming the
// field below prefix.
func (c Cadence) Validate(prefix string) error { panic("unwritten") }
