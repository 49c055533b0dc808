package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/bursar-dev/bursar/admin"
	"github.com/bursar-dev/bursar/cluster"
	"github.com/bursar-dev/bursar/fsm"
)

// Bounds of the first token.
const (
	rootTokenEnv      = "BURSAR_ROOT_TOKEN"
	rootTokenFile     = "root-token"
	minRootTokenBytes = 16
	maxRootTokenBytes = 512
	rootTokenPoll     = 200 * time.Millisecond
	rootTokenPage     = 100
)

// rootTokenFromEnv returns BURSAR_ROOT_TOKEN; it is not a flag, because command
// lines can be read by every user of a machine.
func rootTokenFromEnv() (string, error) {
	token := strings.TrimSpace(os.Getenv(rootTokenEnv))
	switch {
	case token == "":
		return "", nil
	case len(token) < minRootTokenBytes:
		return "", fmt.Errorf("%s is shorter than %d bytes and could be guessed; make one with: openssl rand -base64 32", rootTokenEnv, minRootTokenBytes)
	case len(token) > maxRootTokenBytes:
		return "", fmt.Errorf("%s is longer than %d bytes", rootTokenEnv, maxRootTokenBytes)
	}
	return token, nil
}

// rootToken gives a cluster its first token. Whichever node leads does it, with
// the token it was given or with one it makes, and only while the cluster has no
// root token: a token that was revoked does not come back because an old
// environment still carries it. A made token is in the file before it is in the
// log, so that a crash in between cannot lock everybody out.
type rootToken struct {
	given   string // empty: make one
	dir     string
	machine *fsm.Machine
	cluster *cluster.Node
	log     *slog.Logger
}

// ensure returns once the local replica has a root token, or with ctx's error.
func (r *rootToken) ensure(ctx context.Context) error {
	ticker := time.NewTicker(rootTokenPoll)
	defer ticker.Stop()
	for {
		done, err := r.present()
		if done || err != nil {
			return err
		}
		if r.cluster.Status().State == "leader" {
			if err := r.create(ctx); err != nil && ctx.Err() == nil {
				r.log.Warn("the root token is not in place yet", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// present reports whether the local replica has a root token.
func (r *rootToken) present() (bool, error) {
	for after := ""; ; {
		items, next, err := r.machine.ListTokens("", after, rootTokenPage)
		if err != nil {
			return false, err
		}
		for i := range items {
			if items[i].Role == fsm.RoleRoot {
				return true, nil
			}
		}
		if next == "" {
			return false, nil
		}
		after = next
	}
}

// create proposes the token, having looked again behind a barrier: another
// leader's token may be on its way.
func (r *rootToken) create(ctx context.Context) error {
	if _, err := r.cluster.Barrier(ctx); err != nil {
		return err
	}
	if done, err := r.present(); done || err != nil {
		return err
	}
	secret, name := r.given, rootTokenEnv
	if secret == "" {
		var err error
		if secret, err = r.secretOnDisk(); err != nil {
			return err
		}
		name = "first start"
	}
	_, err := r.cluster.ProposeQuick(ctx, nodeActor(r.cluster.Status().Name), fsm.PutToken{Token: fsm.Token{
		ID:     "tok_" + ulid.Make().String(),
		Name:   name,
		Role:   fsm.RoleRoot,
		Digest: admin.TokenDigest(secret),
	}})
	if err == nil && r.given == "" {
		r.log.Info("a root token was made; it is in the data directory", "file", r.path())
	}
	return err
}

// secretOnDisk returns the token in the file, which an attempt that was cut short left there, or makes it.
func (r *rootToken) secretOnDisk() (string, error) {
	data, err := os.ReadFile(r.path())
	if secret := strings.TrimSpace(string(data)); err == nil && len(secret) >= minRootTokenBytes {
		return secret, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	secret, _ := admin.NewToken()
	return secret, writePrivate(r.path(), []byte(secret+"\n"))
}

func (r *rootToken) path() string { return filepath.Join(r.dir, rootTokenFile) }

// nodeActor is who a node's own changes are attributed to in the audit trail.
func nodeActor(name string) fsm.Actor { return fsm.Actor{Type: "node", ID: name} }
