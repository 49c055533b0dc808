package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// File modes of what a node keeps, and names below its data directory.
const (
	lockFile = "LOCK"
	stateDir = "state" // of the state machine

	modeDir     = 0o700
	modePrivate = 0o600
)

// lockDataDir creates the data directory if need be and locks it against other
// processes until the returned file is closed. The kernel drops the lock with
// the process, however that ends.
func lockDataDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, modeDir); err != nil {
		return nil, fmt.Errorf("--data-dir: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, modePrivate)
	if err != nil {
		return nil, fmt.Errorf("--data-dir: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("--data-dir %s is in use by another bursar process; stop that one or give this node a directory of its own", dir)
	}
	return nil, fmt.Errorf("--data-dir %s cannot be locked (a network file system?): %w", dir, err)
}

// writePrivate writes a file that only this user may read, durably and all or
// none: a crash leaves the old content or the new.
func writePrivate(path string, data []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
