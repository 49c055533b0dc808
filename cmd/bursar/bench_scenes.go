package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/bursar-dev/bursar/bench"
	"github.com/bursar-dev/bursar/internal/pause"
)

const (
	sceneNodes   = 3                      // at least: a follower that stands still must leave a majority
	slowStands   = 180 * time.Millisecond // how long a slow follower stands still
	slowRuns     = 20 * time.Millisecond  // and then runs
	sceneOver    = 30 * time.Second       // for a node to be ready again
	sceneOverTry = 50 * time.Millisecond
)

// scenes measures whether what happens to one follower slows checks elsewhere.
func (c *benchOverloadCmd) scenes(ctx context.Context, load bench.Load, t *benchTarget, nodes servers, say func(string, ...any)) (*bench.ScenesReport, error) {
	at, err := follower(ctx, t)
	if err != nil {
		return nil, err
	}
	others := slices.Delete(slices.Clone(t.Endpoint), at, at+1)
	node := sceneNode{t, at}
	server := nodes[at]
	all := map[string]bench.Scene{
		"slow-follower": {Endpoints: others, Begin: node.during(func(ctx context.Context) error {
			err := server.Pause()
			pause.For(ctx, slowStands)
			err = errors.Join(err, server.Resume())
			pause.For(ctx, slowRuns)
			return err
		})},
		"stopped-follower": {Endpoints: others, Begin: node.during(func(ctx context.Context) error {
			err := server.Pause()
			<-ctx.Done()
			return errors.Join(err, server.Resume())
		})},
		"backup": {Endpoints: t.Endpoint, Begin: node.during(node.backup)},
	}
	s := &bench.Scenes{Load: load, Rate: c.Rate, Rounds: c.Rounds, Each: c.Each, Say: say}
	for _, name := range c.Scene {
		scene := all[name]
		scene.Name = name
		s.Scenes = append(s.Scenes, scene)
	}
	if err := s.Validate(); err != nil {
		return nil, usageError{err}
	}
	rep, err := s.Run(ctx)
	if err != nil {
		return nil, fmt.Errorf("bench overload: %w", err)
	}
	return rep, nil
}

// follower finds a node that does not lead.
func follower(ctx context.Context, t *benchTarget) (int, error) {
	for i := range t.Admin {
		own := sceneNode{t, i}.target()
		data, admin, err := own.connect("")
		if err != nil {
			return 0, err
		}
		cluster, err := admin.Cluster(ctx)
		data.Close()
		admin.Close()
		if err != nil {
			return 0, err
		}
		if cluster.Leader != nil && *cluster.Leader != cluster.Node {
			return i, nil
		}
	}
	return 0, errors.New("no node says that it follows another")
}

// sceneNode is the node that something happens to.
type sceneNode struct {
	all *benchTarget
	at  int
}

// target is this node alone.
func (n sceneNode) target() *benchTarget {
	t := *n.all
	t.Endpoint, t.Admin = t.Endpoint[n.at:n.at+1], t.Admin[n.at:n.at+1]
	return &t
}

// during makes a scene of f, done over and over until the scene ends. Then the node becomes ready again.
func (n sceneNode) during(f func(context.Context) error) func(context.Context) (func() error, error) {
	return func(ctx context.Context) (end func() error, err error) {
		scene, cancel := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() {
			var err error
			for err == nil && scene.Err() == nil {
				err = f(scene)
			}
			ended <- err
		}()
		return func() error {
			cancel()
			return errors.Join(<-ended, n.ready(ctx))
		}, nil
	}
}

// backup takes a backup from the node.
func (n sceneNode) backup(ctx context.Context) error {
	data, admin, err := n.target().connect("")
	if err != nil {
		return err
	}
	defer data.Close()
	defer admin.Close()
	if _, err = admin.Backup(ctx, io.Discard); ctx.Err() != nil {
		return nil // the scene's end cut it off
	}
	return err
}

// ready waits until the node may decide.
func (n sceneNode) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sceneOver)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.all.Endpoint[n.at]+"/readyz", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		if !pause.For(ctx, sceneOverTry) {
			return fmt.Errorf("the follower is not ready again: %w", ctx.Err())
		}
	}
}
