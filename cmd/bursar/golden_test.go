package main

import (
	"archive/tar"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/bursar-dev/bursar/client"
)

// Each release leaves a cluster's data directories in testdata/golden, and every later
// build opens them and finds what is in them. A release makes its own with
//
//	go test ./cmd/bursar -run TestGoldenDataDirectories -golden v1.2
//
// Node 3 had no leader when it took its last event: that is in its outbox. A reservation
// that has expired since is in a journal.
var goldenRelease = flag.String("golden", "", "make the golden data directories of this release instead of opening all")

const goldenDir = "testdata/golden"

// golden is what is in the data directories.
type golden struct {
	Limit       int64
	Used        int64 // of Limit, the event in the outbox included
	Events      []string
	AuditLength uint64
	Entities    map[string]string // id to name
}

const (
	goldenTeam  = "team"
	goldenToken = "golden-root-token"
)

func TestGoldenDataDirectories(t *testing.T) {
	notShort(t)
	if *goldenRelease != "" {
		makeGolden(t, filepath.Join(goldenDir, *goldenRelease))
	}
	releases, err := os.ReadDir(goldenDir)
	if err != nil || len(releases) == 0 {
		t.Fatalf("no golden data directories: %v", err)
	}
	for _, release := range releases {
		t.Run(release.Name(), func(t *testing.T) {
			want := readGolden(t, release.Name())
			c := goldenCluster(t)
			unpackGolden(t, release.Name(), c.dir)
			for i := range c.nodes {
				c.start(i)
			}
			for i := range c.nodes {
				c.waitReady(i)
			}
			c.settles(goldenTeam, want.Used, 30*time.Second)
			for i := range c.nodes {
				if diff := gocmp.Diff(want, c.goldenContent(i)); diff != "" {
					t.Errorf("%s (-golden +opened):\n%s", c.nodes[i].name, diff)
				}
			}
			c.stopAll()
		})
	}
}

// goldenCluster makes the places of three nodes and starts none.
func goldenCluster(t *testing.T) *testCluster {
	c := &testCluster{t: t, dir: t.TempDir(), token: goldenToken, http: &http.Client{Timeout: callTimeout}}
	for range 3 {
		c.addNode().extraArgs = []string{"--bootstrap-expect", "3"}
	}
	t.Cleanup(c.report)
	return c
}

// goldenContent reads from node i what golden says.
func (c *testCluster) goldenContent(i int) (g golden) {
	c.t.Helper()
	b, err := c.balance(i, goldenTeam)
	if err != nil {
		c.t.Fatal(err)
	}
	g.Limit, g.Used, g.Entities = *b.Limit, b.Used, map[string]string{}
	for id, lines := range c.ledger(i) {
		for range lines {
			g.Events = append(g.Events, id)
		}
	}
	slices.Sort(g.Events)
	var audit client.AuditVerification
	var entities client.List[client.Entity]
	if err := errors.Join(c.get(i, "/v1/audit/verify", &audit), c.get(i, "/v1/accounts/"+testAccount+"/entities?limit=100", &entities)); err != nil {
		c.t.Fatal(err)
	}
	if !audit.Valid {
		c.t.Errorf("the audit trail is broken at %v", audit.BrokenAt)
	}
	g.AuditLength = audit.Entries
	for _, e := range entities.Items {
		g.Entities[e.ID] = e.Name
	}
	return g
}

func makeGolden(t *testing.T, dir string) {
	c := goldenCluster(t)
	for i := range c.nodes {
		c.start(i)
	}
	for i := range c.nodes {
		c.waitReady(i)
	}
	c.makeTeam(goldenTeam, 1_000)
	l := &load{c: c, team: goldenTeam, limit: 1_000}
	l.pick = l.anyNode
	for i := range 20 {
		reservation, _ := l.reserve(t.Context(), time.Minute, false)
		l.ingest(t.Context(), fmt.Sprintf("evt-%d", i), reservation)
	}
	c.settles(goldenTeam, 20, 20*time.Second)
	want := c.goldenContent(0)
	l.pick = func() int { return 2 }
	l.reserve(t.Context(), time.Second, false)
	if leader := c.leader(); leader == 2 {
		t.Fatal("node 3 leads: run it again")
	}
	c.nodes[0].kill()
	c.nodes[1].kill()
	l.ingest(t.Context(), "evt-outbox", "")
	c.nodes[2].kill()
	l.faults()
	want.Used, want.Events = want.Used+1, append(want.Events, "evt-outbox")
	slices.Sort(want.Events)

	text, err := json.MarshalIndent(want, "", "  ")
	if err = errors.Join(err, os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "content.json"), append(text, '\n'), 0o644)); err != nil {
		t.Fatal(err)
	}
	packGolden(t, c.dir, filepath.Join(dir, "nodes.tar.gz"))
}

func readGolden(t *testing.T, release string) (g golden) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(goldenDir, release, "content.json"))
	if err = cmp.Or(err, json.Unmarshal(data, &g)); err != nil {
		t.Fatal(err)
	}
	return g
}

// packGolden writes the nodes' directories, without the logs of their processes.
func packGolden(t *testing.T, from, to string) {
	t.Helper()
	file, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	z, _ := gzip.NewWriterLevel(file, gzip.BestCompression)
	w := tar.NewWriter(z)
	err = filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, ".log") && filepath.Dir(path) == from {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		err = w.WriteHeader(&tar.Header{Name: filepath.ToSlash(name), Mode: modePrivate, Size: int64(len(data))})
		if err == nil {
			_, err = w.Write(data)
		}
		return err
	})
	if err = errors.Join(err, w.Close(), z.Close(), file.Close()); err != nil {
		t.Fatal(err)
	}
}

// unpackGolden writes the data directories of a release below dir and returns the paths of their files.
func unpackGolden(t *testing.T, release, dir string) (files []string) {
	t.Helper()
	file, err := os.Open(filepath.Join(goldenDir, release, "nodes.tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil || !filepath.IsLocal(h.Name) {
			t.Fatalf("%s: %v", h.Name, err)
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		data, err := io.ReadAll(r)
		if err = errors.Join(err, os.MkdirAll(filepath.Dir(path), modeDir), os.WriteFile(path, data, modePrivate)); err != nil {
			t.Fatal(err)
		}
		files = append(files, path)
	}
}
