package main

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"testing"
)

func TestProfilesAreServedUntilClosed(t *testing.T) {
	var logged bytes.Buffer
	p, err := startPprof("127.0.0.1:0", slog.New(slog.NewJSONHandler(&logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	_, addr, _ := strings.Cut(logged.String(), `"addr":"`)
	addr, _, _ = strings.Cut(addr, `"`)
	url := "http://" + addr + "/debug/pprof/mutex?debug=1"
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("%s answers %s", url, resp.Status)
	}
	if err := p.close(); err != nil {
		t.Error(err)
	}
	if resp, err := http.Get(url); err == nil {
		resp.Body.Close()
		t.Errorf("%s answers after the end", url)
	}
	if none, err := startPprof("", nil); err != nil || none.close() != nil {
		t.Errorf("no address: %v", err)
	}
}
