package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bursar-dev/bursar/client"
)

// What hostile clients may cost.
const (
	hostileRSSMax   = 900 << 20        // bytes of memory of a node
	raceShadow      = 3                // times as much with -race
	othersWithin    = 10 * time.Second // an honest call meanwhile; the bound says "served", not "fast"
	cutOffWithin    = 40 * time.Second // a connection that does not get on; the longest allowance is the control plane's for a body
	idleConnections = 10_000
)

// hostileMemory returns what a node of this build may take.
func hostileMemory() int64 {
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		return raceShadow * hostileRSSMax
	}
	return hostileRSSMax
}

// rss returns the resident memory of the process in bytes.
func (p *process) rss() int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(data), "VmRSS:")
	kib, _ := strconv.ParseInt(strings.Fields(after + " 0")[0], 10, 64)
	return kib << 10
}

// others are the honest callers of both planes: on kept connections and on new ones.
type others struct {
	c       *testCluster
	served  atomic.Int64
	slowest atomic.Int64 // nanoseconds
	largest atomic.Int64 // memory of the node seen meanwhile, in bytes
}

// run calls until ctx ends. Each call has to be answered as if nobody else were there.
func (o *others) run(ctx context.Context) {
	kept := &http.Client{Timeout: othersWithin}
	fresh := &http.Client{Timeout: othersWithin, Transport: &http.Transport{DisableKeepAlives: true}}
	node := o.c.nodes[0]
	body := fmt.Sprintf(`{"account":%q,"entities":["team-user"]}`, testAccount)
	for ctx.Err() == nil {
		for _, h := range []*http.Client{kept, fresh} {
			o.call(ctx, h, http.MethodPost, "http://"+node.http+"/v1/check", body)
			o.call(ctx, h, http.MethodGet, "http://"+node.admin+"/v1/accounts/"+testAccount+"/balances?entity=team", "")
			o.call(ctx, h, http.MethodGet, "http://"+node.http+"/readyz", "")
		}
		if now := node.rss(); now > o.largest.Load() {
			o.largest.Store(now)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (o *others) call(ctx context.Context, h *http.Client, method, url, body string) {
	began := time.Now()
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		o.c.t.Error(err)
		return
	}
	request.Header.Set("Authorization", "Bearer "+o.c.token)
	response, err := h.Do(request)
	if err == nil {
		_, err = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			err = fmt.Errorf("%d", response.StatusCode)
		}
	}
	if err != nil {
		if ctx.Err() == nil {
			o.c.t.Errorf("an honest call, %s %s, after %v: %v", method, url, time.Since(began).Round(time.Millisecond), err)
		}
		return
	}
	o.served.Add(1)
	if took := int64(time.Since(began)); took > o.slowest.Load() {
		o.slowest.Store(took)
	}
}

// raw sends bytes and returns what came back until the node closed the connection.
// An error says that it did not.
func raw(t *testing.T, addr, send string) (answer string, err error) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, othersWithin)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(cutOffWithin))
	go io.WriteString(conn, send) // may be cut off in the middle
	data, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return string(data), err
	}
	return string(data), nil // a reset is a close, too
}

// statuses returns the status of every answer in what a node sent.
func statuses(answer string) (all []int) {
	r := bufio.NewReader(strings.NewReader(answer))
	for {
		response, err := http.ReadResponse(r, nil)
		if err != nil {
			return all
		}
		io.Copy(io.Discard, response.Body)
		all = append(all, response.StatusCode)
	}
}

// malformed are requests that two readers could take for different things, or
// for nothing. %s stands for the token. What follows a body as "/smuggled" must never be answered.
var malformed = []struct {
	name string
	raw  string
	// strict: the data plane refuses it with a 400. Otherwise a 4xx, or one honest answer to the first request.
	strict bool
}{
	{"length and chunks", "POST /v1/check HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", true},
	{"chunks and length", "POST /v1/check HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", true},
	{"chunks alone", "POST /v1/check HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", true},
	{"a coding of nobody's", "POST /v1/check HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nTransfer-Encoding: xchunked\r\nContent-Length: 2\r\n\r\n{}GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", true},
	{"coding with a space before the colon", "POST /v1/check HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nTransfer-Encoding : chunked\r\nContent-Length: 2\r\n\r\n{}GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", true},
	{"two lengths that differ", "POST /v1/check HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 2\r\nContent-Length: 40\r\n\r\n{}GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", true},
	{"a list of lengths", "POST /v1/check HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 2, 40\r\n\r\n{}GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", true},
	{"a negative length", "POST /v1/check HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: -2\r\n\r\n{}GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", true},
	{"a length with a sign", "POST /v1/check HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: +2\r\n\r\n{}GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", true},
	{"a length in hex", "POST /v1/check HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 0x2\r\n\r\n{}GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", true},
	{"a length of 40 digits", "POST /v1/check HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: " + strings.Repeat("9", 40) + "\r\n\r\n{}", true},
	{"a length of 10 GB", "POST /v1/check HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 10000000000\r\n\r\n{}", false},
	{"a folded header", "POST /v1/check HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nX-Folded: a\r\n Transfer-Encoding: chunked\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", false},
	{"lines that end in LF alone", "POST /v1/check HTTP/1.1\nHost: x\nAuthorization: Bearer %s\nContent-Length: 2\nConnection: close\n\n{}GET /smuggled HTTP/1.1\nHost: x\n\n", false},
	{"a CR in a value", "POST /v1/check HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nX-A: a\rTransfer-Encoding: chunked\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", false},
	{"a NUL in a value", "POST /v1/check HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nX-A: a\x00b\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", false},
	{"a header without a colon", "POST /v1/check HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nnonsense\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", false},
	{"two hosts", "POST /v1/check HTTP/1.1\r\nHost: x\r\nHost: y\r\nAuthorization: Bearer %s\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", false},
	{"no such method", "BREW /v1/check HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n", false},
	{"headers of 1 MB", "GET /v1/check HTTP/1.1\r\nHost: x\r\nX-A: " + strings.Repeat("a", 1<<20) + "\r\nAuthorization: Bearer %s\r\n\r\n", false},
	{"a hundred thousand headers", "GET /v1/check HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: b\r\n", 100_000) + "Authorization: Bearer %s\r\n\r\n", false},
	{"a path of 1 MB", "GET /" + strings.Repeat("a", 1<<20) + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", false},
	{"HTTP/2 from the start", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n%s", false},
	{"not HTTP", strings.Repeat("\x16\x03\x01\xff\xff%s", 1) + strings.Repeat("\x00", 4096) + "\r\n\r\n", false},
}

func TestMalformedRequestsAreRefusedAndSmuggleNothing(t *testing.T) {
	notShort(t)
	t.Parallel()
	c := startCluster(t, 1, nil)
	c.makeTeam("team", 1_000)
	for plane, addr := range map[string]string{"data": c.nodes[0].http, "control": c.nodes[0].admin} {
		for _, m := range malformed {
			t.Run(plane+"/"+m.name, func(t *testing.T) {
				t.Parallel()
				request := strings.ReplaceAll(m.raw, "%s", c.token)
				if plane == "control" {
					request = strings.Replace(request, "/v1/check", "/v1/tokens", 1)
				}
				answer, err := raw(t, addr, request)
				if err != nil {
					t.Fatalf("the connection stays open: %v\n%.300s", err, answer)
				}
				all := statuses(answer)
				if len(all) > 1 {
					t.Errorf("%d answers to one request: %v", len(all), all)
				}
				for _, status := range all {
					if status >= 500 && status != http.StatusHTTPVersionNotSupported && status != http.StatusNotImplemented {
						t.Errorf("a caller's mistake is answered %d:\n%.300s", status, answer)
					}
					if m.strict && plane == "data" && status != http.StatusBadRequest {
						t.Errorf("answered %d, want 400", status)
					}
				}
			})
		}
	}
}

// A stranger's body is not waited for, and no memory is taken for it.
func TestStrangersLargeBodyIsNotRead(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, nil)
	for _, token := range []string{"", "Authorization: Bearer bt_unknown\r\n"} {
		began := time.Now()
		answer, err := raw(t, c.nodes[0].http, "POST /v1/ingest HTTP/1.1\r\nHost: x\r\n"+token+"Content-Length: 1000000\r\n\r\n{")
		if got := statuses(answer); err != nil || len(got) != 1 || got[0] != http.StatusUnauthorized {
			t.Errorf("token %q: answered %v (%v) after %v, want 401 at once", token, got, err, time.Since(began))
		}
	}
}

// TestHostileClientsCostNobodyElse does it all at once: ten thousand idle
// connections, requests that never end, floods over the limits, and garbage on the ports
// between nodes. Meanwhile others are served, and memory stays bounded.
func TestHostileClientsCostNobodyElse(t *testing.T) {
	notShort(t)
	certs := t.TempDir()
	mustMakeCerts(t, certs, false, "node-1")
	c := startCluster(t, 1, func(n *testNode) { n.useTLS(certs) })
	c.makeTeam("team", 1_000_000)
	node := c.nodes[0]
	quiet := node.rss()
	honest := &others{c: c}
	running, stop := context.WithCancel(t.Context())
	defer stop()
	var all sync.WaitGroup
	all.Go(func() { honest.run(running) })

	for _, attack := range []struct {
		name string
		do   func(h *hostile)
	}{
		{"idle connections", (*hostile).idle},
		{"headers that never end", (*hostile).slowHeaders},
		{"bodies that never end", (*hostile).slowBodies},
		{"floods", (*hostile).flood},
		{"garbage between nodes", (*hostile).garbageBetweenNodes},
		{"half-open handshakes between nodes", (*hostile).halfOpen},
	} {
		before := honest.served.Load()
		attack.do(&hostile{t: t, c: c})
		eventually(t, 2*othersWithin, func() error { // on a busy machine it may take a moment until both have had their turn
			if honest.served.Load() < before+6 {
				return errors.New("nobody else was served")
			}
			return nil
		})
		t.Logf("%s: %d honest calls were served meanwhile, memory %d MiB", attack.name, honest.served.Load()-before, node.rss()>>20)
	}
	stop()
	all.Wait()
	t.Logf("%d honest calls, the slowest in %v; memory %d MiB before, %d MiB at most", honest.served.Load(),
		time.Duration(honest.slowest.Load()).Round(time.Millisecond), quiet>>20, honest.largest.Load()>>20)
	if most := honest.largest.Load(); most > hostileMemory() {
		t.Errorf("memory grew to %d MiB, want at most %d", most>>20, hostileMemory()>>20)
	}
	if err := c.ready(0); err != nil {
		t.Error(err)
	}
	c.stopAll()
}

// hostile is one attack. Its connections are closed at its end, if the node has not done so.
type hostile struct {
	t *testing.T
	c *testCluster
}

// dial opens up to n connections to addr, as many as this process may have.
func (h *hostile) dial(addr string, n int) []net.Conn {
	h.t.Helper()
	conns := make([]net.Conn, n)
	var opened atomic.Int64
	var all sync.WaitGroup
	const dialers = 64
	for d := range dialers {
		all.Go(func() {
			for i := d; i < n; i += dialers {
				conn, err := net.DialTimeout("tcp", addr, othersWithin)
				if err != nil {
					return
				}
				conns[i] = conn
				opened.Add(1)
			}
		})
	}
	all.Wait()
	h.t.Cleanup(func() { closeAll(conns) })
	if got := opened.Load(); got < int64(n) {
		h.t.Logf("%d of %d connections to %s were opened", got, n, addr)
	}
	return conns
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		if c != nil {
			c.Close()
		}
	}
}

// trickle writes a byte to each connection now and then for a while.
func trickle(conns []net.Conn, lasts time.Duration) {
	for until := time.Now().Add(lasts); time.Now().Before(until); time.Sleep(300 * time.Millisecond) {
		for _, c := range conns {
			if c != nil {
				c.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
				c.Write([]byte("a"))
			}
		}
	}
}

func (h *hostile) idle() {
	conns := append(h.dial(h.c.nodes[0].http, idleConnections/2), h.dial(h.c.nodes[0].admin, idleConnections/2)...)
	time.Sleep(2 * time.Second)
	closeAll(conns)
}

func (h *hostile) slowHeaders() {
	const each = 500
	conns := append(h.dial(h.c.nodes[0].http, each), h.dial(h.c.nodes[0].admin, each)...)
	for _, c := range conns {
		if c != nil {
			io.WriteString(c, "POST /v1/check HTTP/1.1\r\nHost: x\r\nX-A: ")
		}
	}
	trickle(conns, time.Second)
	h.mustEnd(conns)
}

func (h *hostile) slowBodies() {
	const each = 200 // fewer than the control plane takes at once: its places are for everyone
	strangers := h.dial(h.c.nodes[0].http, 3_000)
	for _, c := range strangers {
		if c != nil {
			io.WriteString(c, "POST /v1/ingest HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{")
		}
	}
	h.mustEnd(strangers)
	data, control := h.dial(h.c.nodes[0].http, each), h.dial(h.c.nodes[0].admin, each)
	for path, conns := range map[string][]net.Conn{"/v1/ingest": data, "/v1/tokens": control} {
		for _, c := range conns {
			if c != nil {
				fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 1000000\r\n\r\n{", path, h.c.token)
			}
		}
	}
	conns := append(data, control...)
	trickle(conns, time.Second)
	h.mustEnd(conns)
}

// mustEnd checks that the node ends one connection of each kind by itself; waiting for all would show the same.
func (h *hostile) mustEnd(conns []net.Conn) {
	var all sync.WaitGroup
	for _, c := range []net.Conn{conns[0], conns[len(conns)-1]} {
		if c == nil {
			continue
		}
		all.Go(func() {
			c.SetReadDeadline(time.Now().Add(cutOffWithin))
			answer, err := io.ReadAll(c)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				h.t.Errorf("a request that never ends is waited for longer than %v", cutOffWithin)
			}
			for _, status := range statuses(string(answer)) {
				if status >= 500 {
					h.t.Errorf("a request that never ends is answered %d", status)
				}
			}
		})
	}
	all.Wait()
	closeAll(conns)
}

// flood calls both planes from many connections at once, without a token, with bodies at the limit.
func (h *hostile) flood() {
	const workers = 400
	ctx, cancel := context.WithTimeout(h.t.Context(), 3*time.Second)
	defer cancel()
	transport := &http.Transport{MaxConnsPerHost: workers, MaxIdleConnsPerHost: workers}
	defer transport.CloseIdleConnections()
	caller := &http.Client{Transport: transport}
	body := `{"events":["` + strings.Repeat("x", 60<<10) + `"]}`
	var answered, refused, wrong atomic.Int64
	var all sync.WaitGroup
	for w := range workers {
		url := "http://" + h.c.nodes[0].http + "/v1/ingest"
		if w%2 == 1 {
			url = "http://" + h.c.nodes[0].admin + "/v1/tokens"
		}
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
				if err != nil {
					return
				}
				if n%2 == 1 {
					request.Header.Set("Authorization", "Bearer "+h.c.token)
				}
				response, err := caller.Do(request)
				if err != nil {
					continue
				}
				response.Body.Close()
				switch {
				case response.StatusCode == http.StatusTooManyRequests:
					refused.Add(1)
				case response.StatusCode >= 500:
					wrong.Add(1)
				default:
					answered.Add(1)
				}
			}
		})
	}
	all.Wait()
	h.t.Logf("flood: %d answered, %d told to slow down", answered.Load(), refused.Load())
	if n := wrong.Load(); n > 0 {
		h.t.Errorf("%d mistakes of callers were answered with a 5xx", n)
	}
}

// garbageBetweenNodes sends noise to the peer and the gossip port, over TCP, UDP and inside TLS.
func (h *hostile) garbageBetweenNodes() {
	node := h.c.nodes[0]
	noise := make([]byte, 64<<10)
	rand.Read(noise)
	huge := append([]byte{'R', 1, 0xff, 0xff}, noise...)
	for _, addr := range []string{node.peer, node.gossip} {
		for _, send := range [][]byte{noise, huge, bytes.Repeat([]byte{0}, 4096), []byte("GET / HTTP/1.1\r\n\r\n"), {0x16, 0x03, 0x01, 0xff, 0xff}} {
			for range 20 {
				if conn, err := net.DialTimeout("tcp", addr, othersWithin); err == nil {
					conn.SetWriteDeadline(time.Now().Add(time.Second))
					conn.Write(send)
					conn.Close()
				}
			}
		}
		if conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"bursar-raft"}}); err == nil {
			conn.Write(noise) // a handshake without a certificate of ours is refused with its first answer
			conn.SetReadDeadline(time.Now().Add(othersWithin))
			if n, err := conn.Read(make([]byte, 1)); err == nil {
				h.t.Errorf("a peer without a certificate was told %d bytes", n)
			}
			conn.Close()
		}
	}
	udp, err := net.Dial("udp", node.gossip)
	if err != nil {
		h.t.Fatal(err)
	}
	defer udp.Close()
	for i := range 5_000 {
		udp.Write(noise[i : i+1+i%1400])
	}
}

// halfOpen leaves a thousand connections between nodes in the middle of a handshake.
func (h *hostile) halfOpen() {
	const each = 500
	node := h.c.nodes[0]
	conns := append(h.dial(node.peer, each), h.dial(node.gossip, each)...)
	for _, c := range conns {
		if c != nil {
			c.Write([]byte{0x16, 0x03, 0x01, 0x02, 0x00}) // the first bytes of a TLS record
		}
	}
	h.mustEnd(conns)
	var cl client.Cluster
	if err := h.c.get(0, "/v1/cluster", &cl); err != nil {
		h.t.Error(err)
	}
}
