package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDataDirectoryHasOneOwner(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	first, err := lockDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockDataDir(dir); err == nil || !strings.Contains(err.Error(), "in use by another bursar process") {
		t.Errorf("a second owner: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := lockDataDir(dir)
	if err != nil {
		t.Fatalf("after the first owner has gone: %v", err)
	}
	second.Close()
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != modeDir {
		t.Errorf("the directory has mode %v (%v), want 0700", info.Mode(), err)
	}
}

func TestPrivateFilesAreReplacedWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	for _, content := range []string{"a longer first content", "second"} {
		if err := writePrivate(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil || string(data) != content {
			t.Fatalf("read %q, %v", data, err)
		}
		if info, _ := os.Stat(path); info.Mode().Perm() != modePrivate {
			t.Errorf("mode %v, want 0600", info.Mode())
		}
	}
	entries, _ := os.ReadDir(filepath.Dir(path))
	if len(entries) != 1 {
		t.Errorf("%d files are left, want 1", len(entries))
	}
}
