package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/bursar-dev/bursar/client"
)

func TestGateTurnsReadinessRedBeforeItRefusesCalls(t *testing.T) {
	var g gate
	handler := g.guard(func(ctx *fasthttp.RequestCtx) { ctx.SetStatusCode(fasthttp.StatusOK) })
	low := errors.New("the disk is full")
	for _, tt := range []struct {
		name         string
		cause        cause
		set          *obstacle
		ready, check int
		detail       string
	}{
		{"open", causeStarting, nil, 200, 200, ""},
		{"starting", causeStarting, &obstacle{errStarting, true}, 503, 503, errStarting.Error()},
		{"started", causeStarting, nil, 200, 200, ""},
		{"disk", causeDisk, &obstacle{low, true}, 503, 503, low.Error()},
		{"stopping while the disk is full", causeStopping, &obstacle{errStopping, false}, 503, 503, low.Error()},
		{"room again while stopping", causeDisk, nil, 503, 200, errStopping.Error()},
		{"drained", causeStopping, &obstacle{errStopping, true}, 503, 503, errStopping.Error()},
		{"room does not open what stops", causeDisk, nil, 503, 503, errStopping.Error()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g.set(tt.cause, tt.set)
			for path, want := range map[string]int{"/healthz": 200, "/readyz": tt.ready, "/v1/check": tt.check} {
				var ctx fasthttp.RequestCtx
				ctx.Request.SetRequestURI(path)
				handler(&ctx)
				if got := ctx.Response.StatusCode(); got != want {
					t.Errorf("%s answers %d, want %d", path, got, want)
				}
				if want == 503 {
					checkProblem(t, string(ctx.Response.Header.ContentType()), ctx.Response.Body(), tt.detail)
				}
			}
			if reason := g.reason(); (reason == nil) != (tt.ready == 200) {
				t.Errorf("reason() = %v", reason)
			}
		})
	}
}

func TestStartingNodeIsAliveAndSaysWhyItIsNotReady(t *testing.T) {
	var g gate
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 503, "/v1/accounts": 503} {
		w := httptest.NewRecorder()
		g.startingHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != want {
			t.Errorf("%s answers %d, want %d", path, w.Code, want)
		}
		if want == 503 {
			checkProblem(t, w.Header().Get("Content-Type"), w.Body.Bytes(), errStarting.Error())
		}
	}
}

func checkProblem(t *testing.T, contentType string, body []byte, detail string) {
	t.Helper()
	var p client.Problem
	if err := json.Unmarshal(body, &p); err != nil || contentType != problemType {
		t.Fatalf("%s %s: %v", contentType, body, err)
	}
	if p.Code != "unavailable" || p.Status != 503 || p.Detail != detail {
		t.Errorf("%+v, want unavailable, 503, %q", p, detail)
	}
}
