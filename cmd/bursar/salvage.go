package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/alecthomas/kong"

	"github.com/bursar-dev/bursar/cluster"
	"github.com/bursar-dev/bursar/enforcer"
	"github.com/bursar-dev/bursar/fsm"
)

// salvageCmd is `bursar salvage`.
type salvageCmd struct {
	File    string   `arg:"" help:"File to write." placeholder:"FILE"`
	DataDir []string `help:"Data directory of a stopped node; repeatable: give all that are left." placeholder:"DIR" type:"existingdir" required:""`
	Force   bool     `env:"-" help:"Replace the file if there is one."`
}

// Help implements kong's HelpProvider.
func (*salvageCmd) Help() string {
	return `Makes a backup from the disks of nodes that are stopped, for a cluster that has lost so many
nodes for good that it cannot elect a leader any more. As long as a majority can be brought back, bring
it back instead: nothing is lost then.

Of the directories given, the one whose log is longest makes the backup; what the others had recorded and
not yet handed on is added. The directories are not changed. What was acknowledged with "quorum" is in
the log of a majority: if all nodes of that majority are lost, so may be the latest of it.

Stop every node of the old cluster before, those that are cut off too, then:

  bursar salvage --data-dir DIR [--data-dir DIR …] FILE
  bursar restore --node-id node-1 --data-dir NEW FILE`
}

// salvageable is one stopped node's directory, locked and open.
type salvageable struct {
	dir     string
	lock    *os.File
	machine *fsm.Machine
	end     uint64
	cluster string
	events  []fsm.Event
}

func (s *salvageable) close() error {
	var err error
	if s.machine != nil {
		err = s.machine.Close()
	}
	return errors.Join(err, s.lock.Close())
}

// openSalvageable takes a directory as it is. Nothing in it changes but what opening a database tidies up.
func openSalvageable(dir string, log *slog.Logger) (s *salvageable, err error) {
	if _, err := os.Stat(filepath.Join(dir, stateDir)); err != nil {
		return nil, fmt.Errorf("--data-dir %s is no node's: %w", dir, err)
	}
	lock, err := lockDataDir(dir)
	if err != nil {
		return nil, err
	}
	s = &salvageable{dir: dir, lock: lock}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.machine, err = fsm.Open(filepath.Join(dir, stateDir), fsm.Options{Logger: log}); err != nil {
		return s, fmt.Errorf("the state in %s: %w", dir, err)
	}
	if s.end, s.cluster, err = cluster.LogEnd(cluster.Config{DataDir: dir, Logger: log}, s.machine); err != nil {
		return s, fmt.Errorf("%s: %w", dir, err)
	}
	s.events, err = enforcer.RecordedEvents(nil, dir, log)
	return s, err
}

// Run salvages.
func (c *salvageCmd) Run(k *kong.Context, root *cli) (err error) {
	if _, err := os.Lstat(c.File); err == nil && !c.Force {
		return usageError{fmt.Errorf("%s exists: say --force to replace it", c.File)}
	}
	log := newLogger(k.Stderr, logLevel(root.LogLevel, slog.LevelWarn))
	shown := newProgress(k.Stderr)
	defer shown.done()
	var best *salvageable
	var events []fsm.Event
	for _, dir := range c.DataDir {
		shown.step("reading %s", dir)
		s, err := openSalvageable(dir, log)
		if err != nil {
			return err
		}
		defer s.close()
		if best != nil && best.cluster != s.cluster {
			return fmt.Errorf("%s is of cluster %q and %s of %q: give directories of one cluster", best.dir, best.cluster, s.dir, s.cluster)
		}
		if best == nil || s.end > best.end {
			best = s
		}
		events = append(events, s.events...)
	}
	out, err := c.write(best, events, shown, log)
	if err != nil {
		return err
	}
	shown.done()
	_, err = fmt.Fprintf(k.Stdout, "%s: cluster %s as of index %d, from %s; %d events that were not handed on yet are in it\n",
		c.File, out.Cluster, out.Log, best.dir, out.Events)
	return err
}

// write builds the backup beside the file and renames it, so that it is whole or not there.
func (c *salvageCmd) write(from *salvageable, events []fsm.Event, shown *progress, log *slog.Logger) (out *cluster.Salvaged, err error) {
	dir := filepath.Dir(c.File)
	work, err := os.MkdirTemp(dir, "."+filepath.Base(c.File)+"-*") // mode 0700
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	scratch, err := fsm.Open(filepath.Join(work, stateDir), fsm.Options{Logger: log})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, scratch.Close()) }()
	path := filepath.Join(work, "backup")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, modePrivate)
	if err != nil {
		return nil, err
	}
	w := io.MultiWriter(f, &transferred{shown: shown, what: "writing"})
	out, err = cluster.Salvage(cluster.Config{DataDir: from.dir, Logger: log}, from.machine, scratch, events, w)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	if err := os.Rename(path, c.File); err != nil {
		return nil, err
	}
	return out, syncDir(dir)
}
