package enforcer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"
)

// listen serves the node in memory and returns how to connect to it.
func (n *soloNode) listen(t *testing.T) func() net.Conn {
	ln := fasthttputil.NewInmemoryListener()
	served := make(chan error, 1)
	go func() { served <- n.server.Serve(ln) }()
	t.Cleanup(func() { mustDo(t, ln.Close(), <-served) })
	return func() net.Conn {
		c, err := ln.Dial()
		mustDo(t, err)
		t.Cleanup(func() { c.Close() })
		mustDo(t, c.SetDeadline(time.Now().Add(20*time.Second)))
		return c
	}
}

func TestRequestsThatAProxyCouldReadOtherwiseAreRefused(t *testing.T) {
	n := newSoloNode(t)
	dial := n.listen(t)
	const body = `{"account":"acme","entities":["alice"]}`
	auth := "Host: x\r\nAuthorization: Bearer " + tokenAll + "\r\n"
	chunked := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	for _, tc := range []struct {
		name, raw string
		status    int
		code      string // or the field that is named, in quotes
		closed    bool
	}{
		{"right", fmt.Sprintf("POST /v1/check HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s", auth, len(body), body), 200, `"ok"`, false},
		{"chunked", "POST /v1/check HTTP/1.1\r\n" + auth + "Transfer-Encoding: chunked\r\n\r\n" + chunked, 400, `"field":"Transfer-Encoding"`, true},
		{"both lengths", fmt.Sprintf("POST /v1/check HTTP/1.1\r\n%sContent-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n%s", auth, len(body), chunked), 400, "invalid_request", true},
		{"identity", fmt.Sprintf("POST /v1/check HTTP/1.1\r\n%sContent-Length: %d\r\ntransfer-encoding: identity\r\n\r\n%s", auth, len(body), body), 400, "invalid_request", true},
		{"unknown coding", "POST /v1/check HTTP/1.1\r\n" + auth + "Transfer-Encoding: xchunked\r\n\r\n" + chunked, 400, "invalid_request", true},
		{"two lengths", fmt.Sprintf("POST /v1/check HTTP/1.1\r\n%sContent-Length: %d\r\nContent-Length: 5\r\n\r\n%s", auth, len(body), body), 400, `"field":"request"`, true},
		{"no length", "POST /v1/check HTTP/1.1\r\n" + auth + "\r\n", 400, `"field":"body"`, false},
		{"body too large", fmt.Sprintf("POST /v1/check HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n", auth, maxBodyBytes+1), 413, "too_large", true},
		{"list too large", fmt.Sprintf("POST /v1/ingest?ack=node HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n", auth, maxListBodyBytes+1), 413, "too_large", true},
		{"headers too large", "POST /v1/check HTTP/1.1\r\n" + auth + "X: " + strings.Repeat("x", maxHeaderBytes) + "\r\n\r\n", 400, `"field":"headers"`, true},
		{"no HTTP", "hello\r\n\r\n", 400, `"field":"request"`, true},
		{"encoded path", fmt.Sprintf("POST /v1%%2f..%%2fv1/check HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s", auth, len(body), body), 404, "not_found", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := dial()
			go func() { _, _ = io.WriteString(c, tc.raw) }()
			in := bufio.NewReader(c)
			res, err := http.ReadResponse(in, nil)
			mustDo(t, err)
			text, err := io.ReadAll(res.Body)
			mustDo(t, err)
			if res.StatusCode != tc.status || !strings.Contains(string(text), tc.code) {
				t.Errorf("%d %s", res.StatusCode, text)
			}
			if res.StatusCode == 400 && !strings.Contains(string(text), `"errors":[{"field":"`) {
				t.Errorf("no field is named: %s", text)
			}
			if res.Header.Get("Server") != "" {
				t.Error("the server tells what it is")
			}
			if tc.closed {
				if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
					t.Error("the connection is not closed:", err)
				}
			}
		})
	}
}

// Answers come in the order of the requests, however many were sent at once.
func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	n := newSoloNode(t)
	c := n.listen(t)()
	const calls = 50
	var sent strings.Builder
	for i := range calls {
		body := fmt.Sprintf(`{"account":"acme","entities":["alice"],"usage":{"tokens":%d}}`, 2000+i)
		fmt.Fprintf(&sent, "POST /v1/check HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", tokenAll, len(body), body)
	}
	go func() { _, _ = io.WriteString(c, sent.String()) }()
	in := bufio.NewReader(c)
	for i := range calls {
		res, err := http.ReadResponse(in, nil)
		mustDo(t, err)
		text, err := io.ReadAll(res.Body)
		mustDo(t, err)
		if want := fmt.Sprintf(`"requested":%d,`, 2000+i); res.StatusCode != 200 || !strings.Contains(string(text), want) {
			t.Fatalf("answer %d: %d %s, want one with %s", i, res.StatusCode, text, want)
		}
	}
}

func TestListsMayBeLargerThanSingles(t *testing.T) {
	n := newSoloNode(t)
	dial := n.listen(t)
	pad := strings.Repeat(" ", 2*maxBodyBytes)
	body := pad + `{"checks":[{"account":"acme","entities":["alice"]}]}`
	c := dial()
	go func() {
		_, _ = fmt.Fprintf(c, "POST /v1/checks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", tokenAll, len(body), body)
	}()
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	mustDo(t, err)
	if res.StatusCode != 200 {
		t.Error(res.Status)
	}
}

func TestAPanicIsAnsweredAndDoesNotEndTheProcess(t *testing.T) {
	n := newSoloNode(t)
	s := &server{e: nil, log: quiet, metrics: newMetrics(n.e)} // whatever it touches is nil
	var ctx fasthttp.RequestCtx
	ctx.Init(&fasthttp.Request{}, nil, nil)
	ctx.Request.Header.SetMethod("POST")
	ctx.Request.SetRequestURI("/v1/check")
	ctx.Request.Header.Set("Authorization", "Bearer x")
	s.handle(&ctx)
	if ctx.Response.StatusCode() != 500 || !ctx.Response.ConnectionClose() || strings.Contains(string(ctx.Response.Body()), "nil pointer") {
		t.Error(ctx.Response.String())
	}
	if s.inFlight.calls.Load() != 0 {
		t.Error("the request still counts as in flight")
	}
}

func TestMoreThanCanBeAnsweredIsTurnedAway(t *testing.T) {
	n := newSoloNode(t)
	s := &server{e: n.e, log: quiet, metrics: newMetrics(n.e)}
	n.server.Handler = s.handle
	check := func() response { return n.post("/v1/check", `{"account":"acme","entities":["alice"]}`) }
	sent := 0
	ingest := func() response { sent++; return n.post("/v1/ingest", events(event(fmt.Sprint("e", sent), ""))) }
	for _, fill := range []struct {
		name        string
		by          *atomic.Int64
		full        int64
		this, other func() response
	}{
		{"requests", &s.inFlight.calls, maxInFlight, check, ingest},
		{"bytes", &s.inFlight.bytes, maxInFlightBytes, check, ingest},
		{"ingests", &s.ingests.calls, maxIngests, ingest, check},
		{"bytes of ingests", &s.ingests.bytes, maxInFlightBytes, ingest, check},
	} {
		fill.by.Add(fill.full)
		if a := fill.this(); a.status != 429 || a.code() != "overloaded" || a.header("Retry-After") == "" {
			t.Errorf("%s: %d %s", fill.name, a.status, a.text)
		}
		if a := fill.other(); a.status != 200 {
			t.Errorf("%s are no reason to turn others away: %d %s", fill.name, a.status, a.text)
		}
		fill.by.Add(-fill.full)
		if a := fill.this(); a.status != 200 {
			t.Errorf("%s: %d %s", fill.name, a.status, a.text)
		}
	}
}

func TestCheckDoesNotAllocate(t *testing.T) {
	n := newSoloNode(t)
	for name, body := range map[string]string{
		"decide":  `{"account":"acme","entities":["alice"],"usage":{"requests":1,"tokens":7},"model":"gpt-4o","ip":"203.0.113.7","member":"m@x"}`,
		"default": `{"account":"acme","entities":["alice","team"]}`,
	} {
		var ctx fasthttp.RequestCtx
		ctx.Init(&fasthttp.Request{}, nil, nil)
		ctx.Request.Header.SetMethod("POST")
		ctx.Request.SetRequestURI("/v1/check")
		ctx.Request.Header.Set("Authorization", "Bearer "+tokenAll)
		ctx.Request.SetBodyString(body)
		run := func() {
			ctx.Response.Reset()
			n.server.Handler(&ctx)
		}
		run()
		if ctx.Response.StatusCode() != 200 {
			t.Fatal(ctx.Response.String())
		}
		if allocs := testing.AllocsPerRun(500, run); allocs > 0 && !raceEnabled {
			t.Errorf("%s: %v allocations", name, allocs)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	n := newSoloNode(b)
	var ctx fasthttp.RequestCtx
	ctx.Init(&fasthttp.Request{}, nil, nil)
	ctx.Request.Header.SetMethod("POST")
	ctx.Request.SetRequestURI("/v1/check")
	ctx.Request.Header.Set("Authorization", "Bearer "+tokenAll)
	ctx.Request.SetBodyString(`{"account":"acme","entities":["alice"],"usage":{"requests":1,"tokens":7},"model":"gpt-4o","ip":"203.0.113.7"}`)
	b.ReportAllocs()
	for b.Loop() {
		ctx.Response.Reset()
		n.server.Handler(&ctx)
	}
}

func TestMetricsCountWhatWasAnswered(t *testing.T) {
	n := newSoloNode(t)
	n.stop()
	registry := prometheus.NewRegistry()
	n.tweak = func(c *Config) { c.Registerer = registry }
	n.start()
	n.post("/v1/check", `{"account":"acme","entities":["alice"],"reserve_ttl_ms":60000}`)
	n.post("/v1/check", `{"account":"acme","entities":["alice"],"usage":{"tokens":2000}}`)
	n.post("/v1/check", `{}`)
	n.post("/v1/ingest", events(event("e", ""), event("e", ""), event("", "")))
	n.post("/v1/ingest", events(event("u", `,"model":"unheard-of"`), event("u", `,"model":"unheard-of"`)))
	n.post("/v1/ingest", events(`{"id":"ghost","account":"acme","entities":["ghost"]}`))
	families, err := registry.Gather()
	mustDo(t, err)
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	for name, want := range map[string]float64{
		"bursar_checks_total ok":                   1,
		"bursar_checks_total exceeds_limit":        1,
		"bursar_check_seconds":                     2,
		"bursar_problems_total invalid_request":    1,
		"bursar_ingest_events_total accepted":      3,
		"bursar_ingest_events_total duplicate":     2,
		"bursar_ingest_unpriced_total":             1,
		"bursar_ingest_unattributed_total":         1,
		"bursar_ingest_rejected_total invalid_id":  1,
		"bursar_ingest_rejected_total id_conflict": 0,
		"bursar_ingest_events_total rejected":      1,
		"bursar_reservations_live":                 1,
		"bursar_outbox_events":                     0,
		"bursar_journal_errors_total":              0,
		"bursar_ready":                             1,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v (present: %v), want %v", name, v, ok, want)
		}
	}
	if got["bursar_journal_writes_total"] == 0 {
		t.Error("no journal write is counted")
	}
}
