package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/alecthomas/kong"

	"github.com/bursar-dev/bursar/cluster"
	"github.com/bursar-dev/bursar/fsm"
)

// restoreCmd is `bursar restore`.
type restoreCmd struct {
	File    string `arg:"" help:"A backup. - reads standard input." placeholder:"FILE"`
	NodeID  string `help:"Name of the new cluster's first node." placeholder:"ID"`
	DataDir string `help:"Its data directory: empty, or none yet." placeholder:"DIR" type:"path"`
	InDoubt string `help:"What becomes of the part of each budget that the old nodes had when the backup was taken, for calls under way: wait until no reservation of that time can be live (61 minutes after the backup), then free it; free it at once; or charge it as used." enum:"wait,free,charge" default:"wait"`
	Check   bool   `env:"-" help:"Only check that the backup is whole."`
}

// Help implements kong's HelpProvider.
func (*restoreCmd) Help() string {
	return `Makes a new cluster from a backup, with an id of its own. The old one's nodes are refused by it.

 1. Stop what is left of the old cluster: both would spend the same budgets.
 2. bursar restore --node-id node-1 --data-dir DIR FILE
 3. Start node-1 with that directory and the command line it always has.
 4. Start the other nodes with empty data directories: they join it.

Tokens are those of the backup. Events are recorded once by their ids: whatever was sent
since the backup may be sent again.`
}

// Validate implements kong's hook.
func (c *restoreCmd) Validate() error {
	if c.Check {
		return nil
	}
	var errs []error
	if !validNodeID(c.NodeID) {
		errs = append(errs, fmt.Errorf("--node-id %q: %s", c.NodeID, nodeIDRule))
	}
	if c.DataDir == "" {
		errs = append(errs, errors.New("--data-dir is missing: name a directory for the node, empty or none yet"))
	}
	return errors.Join(errs...)
}

// fates are the values of --in-doubt.
var fates = map[string]fsm.InDoubt{"wait": fsm.DoubtWaits, "free": fsm.DoubtFreed, "charge": fsm.DoubtCharged}

// Run restores.
func (c *restoreCmd) Run(k *kong.Context, root *cli) error {
	in, err := c.open()
	if err != nil {
		return err
	}
	defer in.Close()
	shown := newProgress(k.Stderr)
	defer shown.done()
	if c.Check || c.File != toStdio {
		info, err := fsm.CheckSnapshot(io.TeeReader(in, &transferred{shown: shown, what: "checking"}))
		if err != nil {
			return fmt.Errorf("%s is not a whole backup: %w", c.File, err)
		}
		if c.Check {
			shown.done()
			_, err := fmt.Fprintf(k.Stdout, "%s: a whole backup as of index %d, %s\n", c.File, info.Index, sizeText(info.Bytes))
			return err
		}
		if _, err := in.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
	log := newLogger(k.Stderr, logLevel(root.LogLevel, slog.LevelWarn))
	made, err := c.restore(io.TeeReader(in, &transferred{shown: shown, what: "restoring"}), log)
	if err != nil {
		return err
	}
	shown.done()
	return c.report(k.Stdout, made)
}

func (c *restoreCmd) open() (*os.File, error) {
	if c.File == toStdio {
		return os.Stdin, nil
	}
	return os.Open(c.File)
}

// restore fills the data directory, or leaves it as empty as it was.
func (c *restoreCmd) restore(in io.Reader, log *slog.Logger) (_ *cluster.Restored, err error) {
	lock, err := lockDataDir(c.DataDir)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := c.mustBeEmpty(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.empty())
		}
	}()
	m, err := fsm.Open(filepath.Join(c.DataDir, stateDir), fsm.Options{Logger: log})
	if err != nil {
		return nil, err
	}
	made, err := cluster.Restore(cluster.Config{Name: c.NodeID, DataDir: c.DataDir, Logger: log}, m, in, fates[c.InDoubt])
	if err = errors.Join(err, m.Close()); err != nil {
		return nil, err
	}
	return made, nil
}

func (c *restoreCmd) mustBeEmpty() error {
	names, err := c.names()
	if err == nil && len(names) > 0 {
		err = fmt.Errorf("--data-dir %s holds %s: a backup is restored into an empty directory", c.DataDir, names[0])
	}
	return err
}

// empty removes what a failed restoring has made.
func (c *restoreCmd) empty() error {
	names, err := c.names()
	for _, name := range names {
		err = errors.Join(err, os.RemoveAll(filepath.Join(c.DataDir, name)))
	}
	return err
}

// names lists the directory but for its lock.
func (c *restoreCmd) names() ([]string, error) {
	entries, err := os.ReadDir(c.DataDir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return slices.DeleteFunc(names, func(name string) bool { return name == lockFile }), nil
}

func (c *restoreCmd) report(w io.Writer, made *cluster.Restored) error {
	_, err := fmt.Fprintf(w, "%s is %s of the new cluster %s, with what %s had at index %d.\nStart it, then start the other nodes with empty data directories.\n",
		c.DataDir, c.NodeID, made.Cluster, made.From, made.Index)
	if err == nil && !made.DoubtUntil.IsZero() {
		_, err = fmt.Fprintf(w, "What the old nodes had for calls under way is in doubt until %s; to decide earlier: bursar cluster forfeit NODE --free or --charge.\n",
			made.DoubtUntil.UTC().Format(time.RFC3339))
	}
	return err
}
