package baseline

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// open starts each store that is installed on this machine.
func open(t *testing.T, test func(t *testing.T, s Store)) {
	const connections = 8
	for name, start := range map[string]func(ctx context.Context) (*Server, error){
		"redis":    func(ctx context.Context) (*Server, error) { return StartRedis(ctx, "always") },
		"postgres": func(ctx context.Context) (*Server, error) { return StartPostgres(ctx, connections) },
	} {
		t.Run(name, func(t *testing.T) {
			server, err := start(t.Context())
			if errors.Is(err, ErrNotInstalled) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := server.Close(); err != nil {
					t.Error(err)
				}
			})
			var s Store
			if name == "redis" {
				s, err = OpenRedis(t.Context(), server.URL, "test:", connections)
			} else {
				s, err = OpenPostgres(t.Context(), server.URL, "test", connections)
			}
			if err != nil {
				t.Fatal(err)
			}
			test(t, s)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

var small = Tree{Chains: [][]string{{"alice", "team", "root"}, {"bob", "team", "root"}}, Limit: 100}

// A baseline that let more through, or less, would be measured doing something else.
func TestStoresAdmitExactlyTheLimit(t *testing.T) {
	open(t, func(t *testing.T, s Store) {
		if err := s.Setup(t.Context(), small); err != nil {
			t.Fatal(err)
		}
		var granted atomic.Int64
		var all sync.WaitGroup
		for w := range 8 {
			all.Go(func() {
				for i := range 30 {
					ok, err := s.Charge(t.Context(), Event{ID: fmt.Sprint(w, "-", i), Caller: i % 2, Amount: 1})
					if err != nil {
						t.Error(err)
						return
					}
					if ok {
						granted.Add(1)
					}
				}
			})
		}
		all.Wait()
		for entity, want := range map[string]int64{"root": 100, "team": 100} {
			if used, err := s.Used(t.Context(), entity); err != nil || used != want || granted.Load() != want {
				t.Errorf("%s: used %d, granted %d, error %v; want %d", entity, used, granted.Load(), err, want)
			}
		}
	})
}

func TestStoresRecordAnEventOnce(t *testing.T) {
	open(t, func(t *testing.T, s Store) {
		if err := s.Setup(t.Context(), small); err != nil {
			t.Fatal(err)
		}
		batch := []Event{{ID: "1", Amount: 70}, {ID: "2", Caller: 1, Amount: 70}}
		for range 2 {
			if err := s.Record(t.Context(), batch); err != nil {
				t.Fatal(err)
			}
		}
		for entity, want := range map[string]int64{"root": 140, "alice": 70} {
			if used, err := s.Used(t.Context(), entity); err != nil || used != want {
				t.Errorf("%s: used %d, error %v; want %d", entity, used, err, want)
			}
		}
	})
}
