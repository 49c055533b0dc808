package reconcile

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Calendar knows the days of a bill.
type Calendar struct {
	// Day returns the day that contains a moment, [start, end) in Unix milliseconds. Days tile time.
	Day func(at int64) (start, end int64)
	// Zone is the time zone whose days these are.
	Zone *time.Location
}

// Label writes the date of the day that begins at start.
func (c *Calendar) Label(start int64) string {
	_, end := c.Day(start)
	return time.UnixMilli(start + (end-start)/2).In(c.Zone).Format(time.DateOnly)
}

// Date returns the day that has the date of t.
func (c *Calendar) Date(t time.Time) (start int64) {
	y, m, d := t.Date()
	start, _ = c.Day(time.Date(y, m, d, 12, 0, 0, 0, c.Zone).UnixMilli())
	return start
}

// The years that dates may lie in: a bill of another one has its columns mixed up.
const firstYear, lastYear = 2000, 2200

var layouts = []string{time.RFC3339Nano, "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05", "2006-01-02T15:04:05"}

// when reads a date or a moment. A date alone is the beginning of its day, a moment without a zone is in the provider's.
// layout, if not empty, is the only form a date may have.
func (c *Calendar) when(s, layout string) (at int64, err error) {
	var t time.Time
	wrong := fmt.Errorf("is neither a date (2026-01-31), nor a moment (2026-01-31T12:00:00Z), nor Unix seconds")
	switch seconds, bad := strconv.ParseInt(strings.TrimSuffix(s, ".0"), 10, 64); {
	case layout != "":
		if t, err = time.ParseInLocation(layout, s, c.Zone); err != nil {
			return 0, fmt.Errorf("is not a date in the form that --date-format gives")
		}
		at = c.Date(t)
	case bad == nil && len(s) >= 9: // 20260131 is no date of ours, and no moment either
		if seconds < 0 || seconds > 1<<36 {
			return 0, wrong
		}
		t = time.Unix(seconds, 0).In(c.Zone)
		at = t.UnixMilli()
	case len(s) == len(time.DateOnly):
		if t, err = time.ParseInLocation(time.DateOnly, s, c.Zone); err != nil {
			return 0, wrong
		}
		at = c.Date(t)
	default:
		for _, l := range layouts {
			if t, err = time.ParseInLocation(l, s, c.Zone); err == nil {
				break
			}
		}
		if err != nil {
			return 0, wrong
		}
		at = t.UnixMilli()
	}
	if y := t.Year(); y < firstYear || y > lastYear {
		return 0, fmt.Errorf("lies in the year %d", y)
	}
	return at, nil
}

// DateLayout turns "DD.MM.YYYY" into what package time calls a layout.
func DateLayout(form string) (string, error) {
	layout := strings.NewReplacer("YYYY", "2006", "MM", "01", "DD", "02").Replace(form)
	for _, part := range []string{"2006", "01", "02"} {
		if strings.Count(layout, part) != 1 {
			return "", fmt.Errorf("%q is no date's form: write YYYY, MM and DD once each, as DD.MM.YYYY", form)
		}
	}
	if strings.Trim(layout, "0126./- ") != "" {
		return "", fmt.Errorf("%q has more in it than YYYY, MM, DD and . / -", form)
	}
	return layout, nil
}
