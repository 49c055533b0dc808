package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// notThere refuses to write a file that exists, unless force says to replace it. It is asked before anything is fetched.
func notThere(path string, force bool) error {
	if _, err := os.Lstat(path); err == nil && !force {
		return usageError{fmt.Errorf("%s exists: say --force to replace it", path)}
	}
	return nil
}

// writeWhole writes beside the file and renames, so that it is whole, also after a power cut, or what
// it was before. Only its owner may read it.
func writeWhole(path string, write func(f *os.File) error) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := write(f); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}
