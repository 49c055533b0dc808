package fsm

import (
	"compress/gzip"
	"encoding/gob"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// recordedLog is a log that a release wrote and the running checksum that it had after each entry.
type recordedLog struct {
	Log  []Entry
	Sums []uint64
}

// The logs in testdata/releases/version1.gob.gz were drawn by the driver of property_test.go and applied by the
// release that wrote version 1. A replica of this release has its checksum after every entry:
// in a cluster of both, during an upgrade, they are replicas of one state.
func TestLogsOfTheFirstVersionGiveTheStateThatTheirReleaseHad(t *testing.T) {
	f, err := os.Open("testdata/releases/version1.gob.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	logs := 0
	for dec := gob.NewDecoder(z); ; logs++ {
		var run recordedLog
		if err := dec.Decode(&run); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		replay(t, logs, &run)
	}
	if logs == 0 {
		t.Error("there is no log")
	}
}

// replay applies a recorded log entry by entry.
func replay(t *testing.T, n int, run *recordedLog) {
	t.Helper()
	r := emptyRig(t, vfs.NewMem())
	for i, e := range run.Log {
		if _, err := r.m.Apply([]Entry{e}); err != nil {
			t.Fatal(err)
		}
		if _, sum := r.m.Checksum(); sum != run.Sums[i] {
			cmd, err := Decode(e.Data)
			if err != nil {
				t.Fatal(err)
			}
			t.Fatalf("log %d: after entry %d the checksum is %x, that of the release was %x: %T %+v", n, i, sum, run.Sums[i], cmd.Body, cmd.Body)
		}
	}
}
