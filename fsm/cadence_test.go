package fsm

import (
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// instant reads RFC 3339.
func instant(s string) int64 {
	at, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return at.UnixMilli()
}

func rfc(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339Nano) }

// anchored returns a cadence that starts a period at the RFC 3339 time.
func anchored(every Every, zone, anchor string) Cadence {
	return Cadence{Every: every, Timezone: zone, Anchor: instant(anchor), Anchored: true}
}

func TestPeriodWorkedExamples(t *testing.T) {
	plain := func(every Every, zone string) Cadence { return Cadence{Every: every, Timezone: zone} }
	for _, c := range []struct {
		name           string
		cadence        Cadence
		at, start, end string
	}{
		{"minute", plain(EveryMinute, "UTC"), "2026-11-22T10:15:30.5Z", "2026-11-22T10:15:00Z", "2026-11-22T10:16:00Z"},
		{"hour", plain(EveryHour, "UTC"), "2026-11-22T10:15:30Z", "2026-11-22T10:00:00Z", "2026-11-22T11:00:00Z"},
		{"hour where zones differ by half hours", plain(EveryHour, "Asia/Kolkata"), "2026-11-22T10:15:00Z", "2026-11-22T09:30:00Z", "2026-11-22T10:30:00Z"},
		{"hour before a gap", plain(EveryHour, "Europe/Berlin"), "2026-03-29T00:59:59.999Z", "2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z"},
		{"hour after a gap", plain(EveryHour, "Europe/Berlin"), "2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"},
		{"first pass of a fold", plain(EveryHour, "Europe/Berlin"), "2026-10-25T00:30:00Z", "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z"},
		{"second pass of a fold", plain(EveryHour, "Europe/Berlin"), "2026-10-25T01:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"},
		{"a half-hour fold makes a half hour", plain(EveryHour, "Australia/Lord_Howe"), "2026-04-04T15:10:00Z", "2026-04-04T15:00:00Z", "2026-04-04T15:30:00Z"},
		{"a half-hour gap makes a half hour", plain(EveryHour, "Australia/Lord_Howe"), "2026-10-03T15:40:00Z", "2026-10-03T15:30:00Z", "2026-10-03T16:00:00Z"},
		{"anchored hour is elapsed time", anchored(EveryHour, "Europe/Berlin", "2026-01-01T00:17:00Z"), "2026-10-25T01:00:00Z", "2026-10-25T00:17:00Z", "2026-10-25T01:17:00Z"},
		{"anchored minute before its anchor", anchored(EveryMinute, "UTC", "2026-01-01T00:00:30Z"), "1969-12-31T23:59:45Z", "1969-12-31T23:59:30Z", "1970-01-01T00:00:30Z"},

		{"day", plain(EveryDay, ""), "2026-11-22T10:15:30Z", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"},
		{"day at its first instant", plain(EveryDay, "UTC"), "2026-11-22T00:00:00Z", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"},
		{"day at its last", plain(EveryDay, "UTC"), "2026-11-21T23:59:59.999Z", "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z"},
		{"day before 1970", plain(EveryDay, "UTC"), "1969-12-31T23:59:59.999Z", "1969-12-31T00:00:00Z", "1970-01-01T00:00:00Z"},
		{"day of 23 hours", plain(EveryDay, "Europe/Berlin"), "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"},
		{"day of 25 hours", plain(EveryDay, "Europe/Berlin"), "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"},
		{"day whose midnight is skipped", plain(EveryDay, "America/Sao_Paulo"), "2018-11-04T12:00:00Z", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"},
		{"day whose midnight comes twice begins at the first", plain(EveryDay, "America/Havana"), "2026-11-01T05:30:00Z", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"},
		{"the day before the day that Samoa skipped", plain(EveryDay, "Pacific/Apia"), "2011-12-30T09:00:00Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z"},
		{"the day after it", plain(EveryDay, "Pacific/Apia"), "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"},
		{"day anchored at nine stays at nine", anchored(EveryDay, "Europe/Berlin", "2026-01-15T08:00:00Z"), "2026-07-01T06:59:59Z", "2026-06-30T07:00:00Z", "2026-07-01T07:00:00Z"},
		{"day anchored at a time that a gap skips", anchored(EveryDay, "Europe/Berlin", "2026-01-15T01:30:00Z"), "2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"},
		{"day anchored at a time that a fold shows twice", anchored(EveryDay, "Europe/Berlin", "2026-01-15T01:30:00Z"), "2026-10-25T01:10:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"},
		{"an anchor in the second pass of a fold holds", anchored(EveryDay, "Europe/Berlin", "2026-10-25T01:30:00Z"), "2026-10-25T01:30:00Z", "2026-10-25T01:30:00Z", "2026-10-26T01:30:00Z"},

		{"week on a Sunday", plain(EveryWeek, "UTC"), "2026-11-22T23:59:59Z", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"},
		{"week on a Monday", plain(EveryWeek, "UTC"), "2026-11-23T00:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"},
		{"week of the epoch", plain(EveryWeek, "UTC"), "1970-01-01T00:00:00Z", "1969-12-29T00:00:00Z", "1970-01-05T00:00:00Z"},
		{"week anchored on a Thursday", anchored(EveryWeek, "America/New_York", "2026-01-15T05:00:00Z"), "2026-07-01T00:00:00Z", "2026-06-25T04:00:00Z", "2026-07-02T04:00:00Z"},

		{"month", plain(EveryMonth, "UTC"), "2026-02-10T12:00:00Z", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"},
		{"month in a zone", plain(EveryMonth, "America/New_York"), "2026-03-31T23:00:00Z", "2026-03-01T05:00:00Z", "2026-04-01T04:00:00Z"},
		{"month anchored on the 15th, before the 15th", anchored(EveryMonth, "UTC", "2026-01-15T00:00:00Z"), "2026-03-14T23:59:59Z", "2026-02-15T00:00:00Z", "2026-03-15T00:00:00Z"},
		{"month anchored on the 31st clamps", anchored(EveryMonth, "UTC", "2026-01-31T00:00:00Z"), "2026-03-01T00:00:00Z", "2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z"},
		{"and clamps to the 29th in a leap year", anchored(EveryMonth, "UTC", "2026-01-31T00:00:00Z"), "2028-03-01T00:00:00Z", "2028-02-29T00:00:00Z", "2028-03-31T00:00:00Z"},
		{"and springs back", anchored(EveryMonth, "UTC", "2026-01-31T00:00:00Z"), "2026-05-01T00:00:00Z", "2026-04-30T00:00:00Z", "2026-05-31T00:00:00Z"},
		{"before its anchor too", anchored(EveryMonth, "UTC", "2026-01-31T00:00:00Z"), "1969-02-28T00:00:00Z", "1969-02-28T00:00:00Z", "1969-03-31T00:00:00Z"},
		{"anchored on the 31st by the local calendar", anchored(EveryMonth, "Asia/Tokyo", "2026-01-30T15:00:00Z"), "2026-02-27T15:00:00Z", "2026-02-27T15:00:00Z", "2026-03-30T15:00:00Z"},

		{"quarter", plain(EveryQuarter, "UTC"), "2026-11-22T00:00:00Z", "2026-10-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		{"quarter before 1970", plain(EveryQuarter, "UTC"), "1969-12-31T00:00:00Z", "1969-10-01T00:00:00Z", "1970-01-01T00:00:00Z"},
		{"quarter anchored on 30 November", anchored(EveryQuarter, "UTC", "2025-11-30T00:00:00Z"), "2026-03-15T00:00:00Z", "2026-02-28T00:00:00Z", "2026-05-30T00:00:00Z"},
		{"year", plain(EveryYear, "Europe/Berlin"), "2026-12-31T23:00:00Z", "2026-12-31T23:00:00Z", "2027-12-31T23:00:00Z"},
		{"year anchored on 29 February, common", anchored(EveryYear, "UTC", "2024-02-29T00:00:00Z"), "2026-01-01T00:00:00Z", "2025-02-28T00:00:00Z", "2026-02-28T00:00:00Z"},
		{"year anchored on 29 February, leap", anchored(EveryYear, "UTC", "2024-02-29T00:00:00Z"), "2028-02-29T00:00:00Z", "2028-02-29T00:00:00Z", "2029-02-28T00:00:00Z"},
		{"year anchored in a century that has no leap day", anchored(EveryYear, "UTC", "2024-02-29T00:00:00Z"), "1900-03-01T00:00:00Z", "1900-02-28T00:00:00Z", "1901-02-28T00:00:00Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			start, end := c.cadence.Period(instant(c.at))
			if start != instant(c.start) || end != instant(c.end) {
				t.Errorf("Period(%s) = [%s, %s), want [%s, %s)", c.at, rfc(start), rfc(end), c.start, c.end)
			}
		})
	}
}

func TestNeverIsOnePeriod(t *testing.T) {
	for _, at := range []int64{0, 1, instant("2026-11-22T00:00:00Z"), Forever - 1} {
		if start, end := (Cadence{Every: EveryNever}).Period(at); start != 0 || end != Forever {
			t.Errorf("Period(%d) = [%d, %d), want [0, Forever)", at, start, end)
		}
	}
}

var everies = []Every{EveryMinute, EveryHour, EveryDay, EveryWeek, EveryMonth, EveryQuarter, EveryYear}

func zoneNames() []string {
	var names []string
	for name := range zoneFiles() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// checkTiles fails unless the periods around at tile time.
func checkTiles(t interface{ Fatalf(string, ...any) }, c Cadence, at int64) {
	start, end := c.Period(at)
	if start > at || at >= end {
		t.Fatalf("%+v: Period(%s) = [%s, %s) does not contain it", c, rfc(at), rfc(start), rfc(end))
	}
	if s, e := c.Period(start); s != start || e != end {
		t.Fatalf("%+v: Period(start %s) = [%s, %s), Period(%s) ends %s", c, rfc(start), rfc(s), rfc(e), rfc(at), rfc(end))
	}
	if s, e := c.Period(end - 1); s != start || e != end {
		t.Fatalf("%+v: Period(end-1 %s) = [%s, %s), Period(%s) starts %s", c, rfc(end-1), rfc(s), rfc(e), rfc(at), rfc(start))
	}
	if s, _ := c.Period(end); s != end {
		t.Fatalf("%+v: Period(end %s) starts at %s", c, rfc(end), rfc(s))
	}
	if _, e := c.Period(start - 1); e != start {
		t.Fatalf("%+v: Period(start-1 %s) ends at %s", c, rfc(start-1), rfc(e))
	}
}

func drawCadence(t *rapid.T) Cadence {
	c := Cadence{
		Every:    rapid.SampledFrom(everies).Draw(t, "every"),
		Timezone: rapid.SampledFrom(zoneNames()).Draw(t, "zone"),
		Anchored: rapid.Bool().Draw(t, "anchored"),
	}
	if c.Anchored {
		c.Anchor = drawTime(t, c.Timezone, "anchor")
	}
	return c
}

// drawTime draws a time between 1800 and 2200, often within a day of a change of the zone's clocks.
func drawTime(t *rapid.T, zone, label string) int64 {
	from := time.Date(1800, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	until := time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	at := rapid.Int64Range(from, until).Draw(t, label)
	if rapid.Bool().Draw(t, label+" near a change") {
		if s := zoneOf(zone).span(at); s.from > from {
			at = s.from + rapid.Int64Range(-dayMS, dayMS).Draw(t, label+" distance")
		}
	}
	return at
}

func TestPeriodsTileTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCadence(t)
		checkTiles(t, c, drawTime(t, c.Timezone, "at"))
	})
}

func TestAPeriodStartsAtTheAnchor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCadence(t)
		if !c.Anchored {
			t.Skip()
		}
		if start, _ := c.Period(c.Anchor); start != c.Anchor {
			t.Fatalf("%+v: the period at the anchor %s starts at %s", c, rfc(c.Anchor), rfc(start))
		}
	})
}

// A day begins when the wall clock first shows a new date, minute by minute.
func TestDaysFollowTheWallClock(t *testing.T) {
	for _, zone := range []string{"Europe/Berlin", "America/Havana", "Africa/Cairo", "Pacific/Apia", "Asia/Beirut"} {
		z, err := loadZone(zone)
		if err != nil {
			t.Fatal(err)
		}
		c := Cadence{Every: EveryDay, Timezone: zone}
		for _, year := range []int{2010, 2011, 2026} {
			from := time.Date(year, 1, 1, 12, 0, 0, 0, z.loc)
			latest := from.Format(time.DateOnly)
			for at := from; at.Year() == year; at = at.Add(30 * time.Minute) {
				start, _ := c.Period(at.UnixMilli())
				date := at.Format(time.DateOnly)
				if began := date > latest; began != (start > at.Add(-30*time.Minute).UnixMilli()) {
					t.Fatalf("%s: at %s the date began: %t, but the period started at %s", zone, at, began, rfc(start))
				}
				latest = max(latest, date)
			}
		}
	}
}

func FuzzPeriod(f *testing.F) {
	f.Add("day", "Europe/Berlin", int64(0), false, int64(1_774_749_600_000))
	f.Add("month", "UTC", int64(1_769_817_600_000), true, int64(1_774_749_600_000))
	f.Add("week", "Pacific/Apia", int64(-1), true, int64(1_325_239_200_000))
	f.Add("never", "", int64(0), false, int64(-1))
	f.Fuzz(func(t *testing.T, every, zone string, anchor int64, anchored bool, at int64) {
		c := Cadence{Every: Every(every), Timezone: zone, Anchor: anchor, Anchored: anchored}
		start, end := c.Period(at) // never panics or hangs, valid or not
		if start >= end {
			t.Fatalf("%+v: Period(%d) = [%d, %d) is empty", c, at, start, end)
		}
		if c.Validate("") != nil || c.Every == EveryNever || at < minTime+400*dayMS || at > maxTime-400*dayMS {
			return
		}
		checkTiles(t, c, at)
	})
}

func TestZonesComeFromThePinnedDatabaseOnly(t *testing.T) {
	t.Setenv("ZONEINFO", t.TempDir())
	if got := len(zoneFiles()); got < 590 {
		t.Errorf("the database has %d zones", got)
	}
	for _, name := range zoneNames() {
		if _, err := loadZone(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"Local", "europe/berlin", "Europe", "Europe/", "../etc/passwd", "CEST", " UTC"} {
		if _, err := loadZone(name); err == nil {
			t.Errorf("loadZone(%q) found a zone", name)
		}
	}
}

func TestZonesAreLoadedConcurrently(t *testing.T) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for _, name := range zoneNames()[:50] {
				if _, err := loadZone(name); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkPeriod(b *testing.B) {
	at := time.Date(2026, 11, 22, 10, 15, 30, 0, time.UTC).UnixMilli()
	for _, c := range []Cadence{
		{Every: EveryHour, Timezone: "UTC"},
		{Every: EveryHour, Timezone: "Europe/Berlin"},
		{Every: EveryDay, Timezone: "Europe/Berlin"},
		{Every: EveryMonth, Timezone: "UTC"},
		{Every: EveryMonth, Timezone: "Europe/Berlin"},
		{Every: EveryYear, Timezone: "America/New_York", Anchor: at - 900*dayMS, Anchored: true},
	} {
		name := string(c.Every) + " " + c.Timezone
		if c.Anchored {
			name += " anchored"
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				c.Period(at)
			}
		})
	}
}
