package client

import (
	"crypto/rand"
	"time"

	"github.com/oklog/ulid/v2"
)

// NewEventID returns an id for an Event: a ULID, 48 bits of time and 80 bits of
// crypto/rand, so that ids of different processes cannot meet and sort by time.
func NewEventID() string {
	// The error is an entropy source that fails (crypto/rand does not) or a time past the year 10889.
	return ulid.MustNew(ulid.Timestamp(time.Now()), rand.Reader).String()
}
