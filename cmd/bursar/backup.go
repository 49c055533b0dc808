package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/alecthomas/kong"

	"github.com/bursar-dev/bursar/fsm"
)

// backupCmd is `bursar backup`.
type backupCmd struct {
	File  string `arg:"" help:"File to write. - writes to standard output." placeholder:"FILE"`
	Force bool   `env:"-" help:"Replace the file if there is one."`
	adminFlags
}

// Help implements kong's HelpProvider.
func (*backupCmd) Help() string {
	return `Takes a copy of everything from a running cluster: accounts, trees, budgets with what they
have used, the ledger, the audit trail, and tokens as digests. It has every write that was
acknowledged before, and is checked to its end before it counts as done. The cluster goes on
meanwhile. It takes a root token.

bursar restore makes a new cluster from it.`
}

// backupReport is what a backup came to.
type backupReport struct {
	File  string `json:"file,omitempty"`
	Index uint64 `json:"index"`
	Bytes int64  `json:"bytes"`
}

// Run takes the backup.
func (c *backupCmd) Run(ctx context.Context, k *kong.Context) error {
	if c.File == toStdio && isTerminal(k.Stdout) {
		return usageError{errors.New("a backup is nothing for a terminal: name a file, or send standard output somewhere")}
	}
	return c.with(k, func(s *session) error {
		if c.File == toStdio {
			_, err := copyBackup(ctx, s, k.Stdout, k.Stderr)
			return err
		}
		r, err := c.toFile(ctx, s, k.Stderr)
		if err != nil {
			return err
		}
		if s.format == outputJSON {
			return writeJSON(s.out, r)
		}
		_, err = fmt.Fprintf(s.out, "%s: %s, as of index %d\n", r.File, sizeText(r.Bytes), r.Index)
		return err
	})
}

func (c *backupCmd) toFile(ctx context.Context, s *session, status io.Writer) (*backupReport, error) {
	if err := notThere(c.File, c.Force); err != nil {
		return nil, err
	}
	r := &backupReport{File: c.File}
	err := writeWhole(c.File, func(f *os.File) error {
		info, err := copyBackup(ctx, s, f, status)
		r.Index, r.Bytes = info.Index, info.Bytes
		return err
	})
	return r, err
}

// copyBackup streams a backup into w and reads it along, so that only a whole one passes.
func copyBackup(ctx context.Context, s *session, w, status io.Writer) (fsm.SnapshotInfo, error) {
	shown := newProgress(status)
	defer shown.done()
	type verdict struct {
		info fsm.SnapshotInfo
		err  error
	}
	check, feed := io.Pipe()
	checked := make(chan verdict, 1)
	go func() {
		info, err := fsm.CheckSnapshot(check)
		check.CloseWithError(err) // what is damaged need not be fetched to its end
		checked <- verdict{info, err}
	}()
	shown.step("waiting for the cluster")
	_, err := s.Backup(ctx, io.MultiWriter(w, feed, &transferred{shown: shown, what: "backing up"}))
	feed.Close() // after an error too: the check then misses the end
	v := <-checked
	if err != nil {
		return v.info, err
	}
	if v.err != nil {
		return v.info, fmt.Errorf("what the node sent is not a whole backup: %w", v.err)
	}
	return v.info, nil
}

// transferred shows how many bytes went through it.
type transferred struct {
	shown *progress
	what  string
	n     int64
	last  time.Time
}

const transferRefresh = 100 * time.Millisecond

// Write implements io.Writer.
func (t *transferred) Write(b []byte) (int, error) {
	t.n += int64(len(b))
	if now := time.Now(); now.Sub(t.last) >= transferRefresh {
		t.last = now
		t.shown.step("%s: %s", t.what, sizeText(t.n))
	}
	return len(b), nil
}

// sizeText writes bytes as people read them.
func sizeText(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB"}
	v := float64(n)
	for v >= 1024 && len(units) > 1 {
		v, units = v/1024, units[1:]
	}
	if units[0] == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[0])
}
