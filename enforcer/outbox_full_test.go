package enforcer

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/bursar-dev/bursar/fsm"
)

const (
	fullOutboxDir   = "BURSAR_TEST_FULL_OUTBOX"
	fullOutboxFiles = "BURSAR_TEST_FULL_OUTBOX_FILES" // how the names end of those that take nothing
)

// TestFullOutboxChild is the process that TestOutboxThatCannotBeWrittenEndsTheProcess starts.
func TestFullOutboxChild(t *testing.T) {
	dir := os.Getenv(fullOutboxDir)
	if dir == "" {
		t.Skip("started by TestOutboxThatCannotBeWrittenEndsTheProcess")
	}
	full := errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, os.Getenv(fullOutboxFiles)) {
			return syscall.ENOSPC
		}
		return nil
	}))
	box, _, err := openOutbox(full, dir, slog.New(slog.NewTextHandler(os.Stdout, nil)))
	if err == nil {
		err = box.add([]*outboxEntry{{ev: &fsm.Event{Account: "acme", ID: "e2"}}})
	}
	t.Fatalf("the process goes on: %v", err)
}

// Pebble's Open tries to write out its log for ever where the disk takes nothing, and where the log takes nothing it ends
// the process in ways that say little.
func TestOutboxThatCannotBeWrittenEndsTheProcess(t *testing.T) {
	for _, files := range []string{".sst", ".log"} {
		t.Run(files, func(t *testing.T) { testFullOutbox(t, files) })
	}
}

func testFullOutbox(t *testing.T, files string) {
	const within = 30 * time.Second // a child that hangs is killed
	dir := t.TempDir()
	box, _, err := openOutbox(vfs.Default, dir, quiet)
	mustDo(t, err, box.add([]*outboxEntry{{ev: &fsm.Event{Account: "acme", ID: "e1"}}}), box.close())
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestFullOutboxChild$")
	child.Env = append(os.Environ(), fullOutboxDir+"="+dir, fullOutboxFiles+"="+files)
	out, _ := child.CombinedOutput()
	for _, want := range []string{"the node ends", dir, syscall.ENOSPC.Error()} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the process has not said %q:\n%s", want, out)
		}
	}
	if code := child.ProcessState.ExitCode(); code != 1 || strings.Contains(string(out), "goes on") {
		t.Errorf("it ended with %v, want code 1\n%s", child.ProcessState, out)
	}
	box, left, err := openOutbox(vfs.Default, dir, quiet)
	mustDo(t, err, box.close())
	if len(left) != 1 || left[0].ev.ID != "e1" {
		t.Errorf("with room again the outbox holds %v, want e1", left)
	}
}
