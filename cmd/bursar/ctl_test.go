package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestClientCommands runs the transcripts in testdata/ctl: command lines against
// a server that answers from files.
//
// A request GET /v1/accounts/acme is answered by answers/GET-v1-accounts-acme; its first line may be
// "status 409". A PUT or POST without a file is answered with its own body; anything else is
// not found. Every request is noted in the file requests, with its body.
func TestClientCommands(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/ctl",
		Setup: func(env *testscript.Env) error {
			bin := filepath.Join(env.WorkDir, "bin")
			if err := os.Mkdir(bin, 0o755); err != nil {
				return err
			}
			if err := os.Symlink(program, filepath.Join(bin, "bursar")); err != nil {
				return err
			}
			s := httptest.NewServer(&scripted{dir: env.WorkDir})
			env.Defer(s.Close)
			env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv(asBursar, "1")
			env.Setenv("BURSAR_ADMIN", s.URL)
			env.Setenv("BURSAR_ENDPOINT", s.URL)
			env.Setenv("BURSAR_TOKEN", "bt_root")
			return nil
		},
	})
}

// scripted is the server of a transcript.
type scripted struct {
	dir string
	mu  sync.Mutex
}

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	log, err := os.OpenFile(filepath.Join(s.dir, "requests"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		panic(err)
	}
	defer log.Close()
	fmt.Fprintln(log, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+string(body)))
	status, answer := s.answer(r, body)
	if status >= 400 {
		w.Header().Set("Content-Type", "application/problem+json")
	} else {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	w.Write(answer)
}

func (s *scripted) answer(r *http.Request, body []byte) (int, []byte) {
	if r.Header.Get("Authorization") != "Bearer bt_root" {
		return 401, []byte(`{"code":"unauthorized","detail":"unknown token"}`)
	}
	name := r.Method + strings.ReplaceAll(r.URL.Path, "/", "-")
	file, err := os.ReadFile(filepath.Join(s.dir, "answers", name))
	if err != nil {
		if r.Method == http.MethodPut || r.Method == http.MethodPost {
			return 200, body
		}
		return 404, []byte(`{"code":"not_found","detail":"there is no such thing"}`)
	}
	status := 200
	if head, rest, ok := strings.Cut(string(file), "\n"); ok {
		if n, _ := fmt.Sscanf(head, "status %d", &status); n == 1 {
			return status, []byte(rest)
		}
	}
	return status, file
}
