package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// identityFile is what a data directory remembers of whose it is.
const identityFile = "node.json"

// identity is the content of identityFile. It is written before what depends on it.
type identity struct {
	fs  vfs.FS
	dir string

	mu sync.Mutex
	v  identityFields
}

type identityFields struct {
	Node    string `json:"node"`
	Cluster string `json:"cluster,omitempty"` // once known
	// Promised is the node whose cluster this one has promised to be a founding
	// member of. A node promises once, so that two clusters cannot both count on it.
	Promised string `json:"promised,omitempty"`
}

// openIdentity reads the data directory's identity, or gives it one. A directory
// of another node is refused.
func openIdentity(fs vfs.FS, dir, node string) (*identity, error) {
	id := &identity{fs: fs, dir: dir}
	if err := makeDir(fs, dir); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	b, err := readFile(fs, filepath.Join(dir, identityFile))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return id, id.update(func(v *identityFields) { v.Node = node })
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", identityFile, err)
	}
	if err := json.Unmarshal(b, &id.v); err != nil {
		return nil, fmt.Errorf("%s in %s is damaged: %w", identityFile, dir, err)
	}
	if id.v.Node != node {
		return nil, fmt.Errorf("data directory %s belongs to node %q: start with --node-id %s, or give %q another --data-dir", dir, id.v.Node, id.v.Node, node)
	}
	return id, nil
}

// rememberedCluster returns the cluster whose a data directory knows it is, "" if none.
func rememberedCluster(fs vfs.FS, dir string) (string, error) {
	b, err := readFile(fs, filepath.Join(dir, identityFile))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	var v identityFields
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	if err != nil {
		return "", fmt.Errorf("read %s in %s: %w", identityFile, dir, err)
	}
	return v.Cluster, nil
}

func (id *identity) get() identityFields {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.v
}

// update changes the identity durably.
func (id *identity) update(f func(*identityFields)) error {
	id.mu.Lock()
	defer id.mu.Unlock()
	v := id.v
	f(&v)
	if v == id.v {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := replaceFile(id.fs, id.dir, identityFile, append(b, '\n')); err != nil {
		return fmt.Errorf("write %s: %w", identityFile, err)
	}
	id.v = v
	return nil
}

func readFile(fs vfs.FS, name string) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// replaceFile writes a file so that after a crash it holds the old content or the new.
func replaceFile(fs vfs.FS, dir, name string, content []byte) error {
	path := filepath.Join(dir, name)
	f, err := fs.Create(path+".tmp", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := fs.Rename(path+".tmp", path); err != nil {
		return err
	}
	return syncDir(fs, dir)
}

// makeDir makes a directory so that it is still there after a crash.
func makeDir(fs vfs.FS, dir string) error {
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := syncDir(fs, d); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
