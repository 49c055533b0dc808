package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/bursar-dev/bursar/client"
)

// The load that Bursar and Redis get side by side, and what happens to them. docs/redis.md explains.
const (
	sideLimit   = 1_000                  // calls, the hard limit
	sideWorkers = 16                     // callers
	sidePace    = 80 * time.Millisecond  // from one call of a caller to its next: 200 calls a second in all
	sideTimeout = 500 * time.Millisecond // of one request
	sideCutOff  = 500 * time.Millisecond // how long nothing of the first node reaches the others before it dies
	sideNotice  = time.Second            // until whoever watches promotes another, as Sentinel would
	sidePause   = 2 * time.Second        // of the first node
	sideLate    = time.Second            // until half of the callers, and the node that was paused, hear of the other
	sideHold    = 3 * time.Second        // of a reservation
	sideQuiet   = 5 * time.Second        // without an admission, after which nothing more will be admitted
)

// sideVerdict is what one call came to.
type sideVerdict int

const (
	sideUnknown  sideVerdict = iota // no answer, or one that says to try again
	sideAdmitted                    // and its usage acknowledged
	sideRefused
)

// contender is a system under the load.
type contender interface {
	// call makes one call with an id, as a worker.
	call(ctx context.Context, worker int, id string) sideVerdict
	// strike does what happens half-way.
	strike(scenario string)
	// ledger returns how often each recorded id is in the records of whoever is left.
	ledger() map[string]int
}

var scenarios = []string{"kill -9", "cut off for 0.5 s, then kill -9", "2 s pause, another promoted"}

// sideResult is what a round came to.
type sideResult struct {
	admitted, lost, doubled int
	gap                     time.Duration
}

// sideBySide runs the load against one contender, with one blow when half is admitted.
func sideBySide(t *testing.T, c contender, scenario string) sideResult {
	var (
		mu     sync.Mutex
		acked  []string
		result sideResult
		last   = time.Now()
		struck sync.Once
		all    sync.WaitGroup
		blow   = make(chan struct{})
		count  atomic.Int64
	)
	all.Go(func() { <-blow; c.strike(scenario) })
	for w := range sideWorkers {
		all.Go(func() {
			tick := time.NewTicker(sidePace)
			defer tick.Stop()
			for {
				mu.Lock()
				over := time.Since(last) > sideQuiet
				mu.Unlock()
				if over {
					return
				}
				id := ulid.Make().String()
				if c.call(t.Context(), w, id) == sideAdmitted {
					mu.Lock()
					acked = append(acked, id)
					now := time.Now()
					if count.Load() >= sideLimit/2 && len(acked) < sideLimit {
						result.gap = max(result.gap, now.Sub(last))
					}
					last = now
					mu.Unlock()
					if count.Add(1) == sideLimit/2 {
						struck.Do(func() { close(blow) })
					}
				}
				<-tick.C
			}
		})
	}
	all.Wait()
	lines := c.ledger()
	result.admitted = len(acked)
	for _, id := range acked {
		switch lines[id] {
		case 0:
			result.lost++
		case 1:
		default:
			result.doubled++
		}
	}
	return result
}

// TestSideBySideWithRedis is run on demand: BURSAR_COMPARE=rounds. It asserts only
// what Bursar promises; what Redis did is printed, for docs/redis.md.
func TestSideBySideWithRedis(t *testing.T) {
	rounds, _ := strconv.Atoi(os.Getenv("BURSAR_COMPARE"))
	if rounds == 0 {
		t.Skip("set BURSAR_COMPARE to the number of rounds")
	}
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("redis-server is not installed")
	}
	systems := []struct {
		name  string
		start func(t *testing.T) contender
	}{
		{"Redis", func(t *testing.T) contender { return startRedis(t, false) }},
		{"Redis, WAIT and min-replicas", func(t *testing.T) contender { return startRedis(t, true) }},
		{"Bursar", startBursarSide},
	}
	var table strings.Builder
	tw := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "what happens\tsystem\tadmitted of 1000\toverspent\tnever admitted\tacknowledged, then lost\tdoubled\tlongest gap")
	for _, scenario := range scenarios {
		for _, system := range systems {
			var admittedAll, over, never, lost, doubled []int
			var gap time.Duration
			for round := range rounds {
				t.Run(fmt.Sprintf("%s/%s/%d", scenario, system.name, round+1), func(t *testing.T) {
					r := sideBySide(t, system.start(t), scenario)
					admittedAll, over, never = append(admittedAll, r.admitted), append(over, max(0, r.admitted-sideLimit)), append(never, max(0, sideLimit-r.admitted))
					lost, doubled, gap = append(lost, r.lost), append(doubled, r.doubled), max(gap, r.gap)
					t.Logf("%+v", r)
					if system.name == "Bursar" && (r.admitted != sideLimit || r.lost > 0 || r.doubled > 0) {
						t.Errorf("%+v, want exactly %d admitted and nothing lost or doubled", r, sideLimit)
					}
				})
			}
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%.1f s\n", scenario, system.name, figures(admittedAll), figures(over), figures(never), figures(lost), figures(doubled), gap.Seconds())
		}
	}
	tw.Flush()
	t.Logf("%d rounds each; every round's figure:\n%s", rounds, table.String())
}

// figures writes every round's figure, or one if all are alike.
func figures(all []int) string {
	if len(slices.Compact(slices.Clone(all))) == 1 {
		return strconv.Itoa(all[0])
	}
	return strings.Trim(fmt.Sprint(all), "[]")
}

// bursarSide is three nodes of Bursar; a call is a reservation and the event that settles it.
type bursarSide struct {
	*testCluster
	net    *peerNet
	pinned atomic.Int64 // the node that half of the callers stay with, or -1
}

const sideTeam = "team"

func startBursarSide(t *testing.T) contender {
	b := &bursarSide{net: newPeerNet(t)}
	b.testCluster = startCluster(t, 3, b.net.before)
	b.makeTeam(sideTeam, sideLimit)
	b.http = &http.Client{Timeout: sideTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: sideWorkers}}
	b.pinned.Store(-1)
	return b
}

func (b *bursarSide) node(worker, try int) string {
	i := (worker + try) % len(b.nodes)
	if p := b.pinned.Load(); p >= 0 && worker%2 == 0 {
		i = int(p)
	}
	return "http://" + b.nodes[i].http
}

func (b *bursarSide) call(ctx context.Context, worker int, id string) sideVerdict {
	var decision client.CheckResponse
	for try := range len(b.nodes) {
		err := b.testCluster.call(http.MethodPost, b.node(worker, try)+"/v1/check",
			client.CheckRequest{Account: testAccount, Entities: []string{sideTeam + "-user"}, ReserveTTLMS: sideHold.Milliseconds()}, &decision)
		if err == nil {
			break
		}
	}
	switch {
	case decision.Code == "":
		return sideUnknown
	case !decision.Allowed:
		return sideRefused
	}
	event := client.IngestRequest{Events: []client.Event{{ID: id, Account: testAccount, Entities: []string{sideTeam + "-user"},
		Usage: client.Usage{"requests": 1}, Reservation: decision.Reservation}}}
	for try := 0; ctx.Err() == nil; try++ { // the call was made: its usage is recorded, however long that takes
		var taken client.IngestResponse
		if err := b.testCluster.call(http.MethodPost, b.node(worker, try)+"/v1/ingest", event, &taken); err == nil && taken.Accepted+taken.Duplicates == 1 {
			return sideAdmitted
		}
		time.Sleep(20 * time.Millisecond)
	}
	return sideUnknown
}

func (b *bursarSide) strike(scenario string) {
	first := b.leader()
	switch scenario {
	case scenarios[0]:
		b.nodes[first].kill()
	case scenarios[1]:
		b.net.set(condition{silent: true}, between(b.nodes[first].name))
		time.Sleep(sideCutOff)
		b.nodes[first].kill()
		b.net.heal()
	default:
		b.pinned.Store(int64(first))
		b.nodes[first].cmd.Process.Signal(syscall.SIGSTOP)
		time.Sleep(sidePause)
		b.nodes[first].cmd.Process.Signal(syscall.SIGCONT)
		time.Sleep(sideLate)
		b.pinned.Store(-1)
		return
	}
	time.Sleep(sideNotice)
	b.start(first) // a supervisor would
}

func (b *bursarSide) ledger() map[string]int {
	b.http = &http.Client{Timeout: callTimeout}
	lines := map[string]int{}
	for i := range b.nodes {
		b.waitReady(i)
	}
	for id, all := range b.testCluster.ledger(0) {
		lines[id] = len(all)
	}
	return lines
}

// redisSide is a primary and two replicas, watched by the test as Sentinel would. A
// call is one script that compares, counts and records: the usual limiter, with a ledger.
type redisSide struct {
	t     *testing.T
	net   *peerNet // from the replicas to the first primary
	wait  bool     // whether a call counts once a replica has it
	nodes []*redisNode

	primary atomic.Int64
	pinned  atomic.Int64 // as of bursarSide
	conns   [sideWorkers]*respConn
}

type redisNode struct {
	addr string
	cmd  *exec.Cmd
}

const admitScript = `local used = tonumber(redis.call('GET', KEYS[1]) or '0')
if used + 1 > tonumber(ARGV[1]) then return 0 end
redis.call('INCRBY', KEYS[1], 1)
redis.call('RPUSH', KEYS[2], ARGV[2])
return 1`

func startRedis(t *testing.T, wait bool) contender {
	r := &redisSide{t: t, net: newPeerNet(t), wait: wait}
	r.pinned.Store(-1)
	port := freePorts(t, 3)
	_, replication, _ := net.SplitHostPort(r.net.front("primary", loopback(port), "replicas"))
	r.net.names = append(r.net.names, "replicas")
	for i := range 3 {
		dir := filepath.Join(t.TempDir(), "redis")
		if err := os.MkdirAll(dir, modeDir); err != nil {
			t.Fatal(err)
		}
		args := []string{"--port", strconv.Itoa(port + i), "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--repl-diskless-sync-delay", "0"}
		if wait {
			args = append(args, "--min-replicas-to-write", "1", "--min-replicas-max-lag", "10")
		}
		if i > 0 {
			args = append(args, "--replicaof", "127.0.0.1 "+replication)
		}
		cmd := exec.Command("redis-server", args...)
		cmd.SysProcAttr = dieWithParent()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		r.nodes = append(r.nodes, &redisNode{addr: loopback(port + i), cmd: cmd})
	}
	eventually(t, readyWithin, func() error {
		info, err := r.ask(0, "INFO", "replication")
		if err == nil && strings.Count(info, "state=online") != 2 {
			err = fmt.Errorf("replicas are not online: %s", info)
		}
		return err
	})
	return r
}

// ask sends one command to a node.
func (r *redisSide) ask(i int, args ...string) (string, error) {
	c, err := dialRESP(r.nodes[i].addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	answer, err := c.do(args...)
	return strings.Join(answer, "\n"), err
}

func (r *redisSide) call(_ context.Context, worker int, id string) sideVerdict {
	at := int(r.primary.Load())
	if p := r.pinned.Load(); p >= 0 && worker%2 == 0 {
		at = int(p)
	}
	c := r.conns[worker]
	if c == nil || c.addr != r.nodes[at].addr {
		if c != nil {
			c.Close()
		}
		var err error
		if c, err = dialRESP(r.nodes[at].addr); err != nil {
			r.conns[worker] = nil
			return sideUnknown
		}
		r.conns[worker] = c
	}
	answer, err := c.do("EVAL", admitScript, "2", "budget", "ledger", strconv.Itoa(sideLimit), id)
	if err == nil && answer[0] == "1" && r.wait {
		answer, err = c.do("WAIT", "1", strconv.Itoa(int(sideTimeout.Milliseconds())/2))
		if err == nil && answer[0] == "0" {
			return sideUnknown // nobody else has it: the caller must not take it for granted
		}
		if err == nil {
			return sideAdmitted
		}
	}
	switch {
	case err != nil:
		c.Close()
		r.conns[worker] = nil
		return sideUnknown
	case answer[0] == "1":
		return sideAdmitted
	}
	return sideRefused
}

func (r *redisSide) strike(scenario string) {
	first := r.nodes[0].cmd.Process
	switch scenario {
	case scenarios[0]:
		first.Kill()
	case scenarios[1]:
		r.net.set(condition{silent: true}, func(_, _ string) bool { return true })
		time.Sleep(sideCutOff)
		first.Kill()
	default:
		r.pinned.Store(0)
		first.Signal(syscall.SIGSTOP)
		time.Sleep(sideNotice)
		r.promote()
		time.Sleep(sidePause - sideNotice)
		first.Signal(syscall.SIGCONT)
		time.Sleep(sideLate)
		r.follow(0)
		r.pinned.Store(-1)
		return
	}
	time.Sleep(sideNotice)
	r.promote()
}

// promote makes the replica that has most the primary, as Sentinel chooses, and the other one its replica.
func (r *redisSide) promote() {
	best, most := 1, -1
	for i := 1; i <= 2; i++ {
		info, err := r.ask(i, "INFO", "replication")
		if err != nil {
			r.t.Errorf("INFO: %v", err)
		}
		_, after, _ := strings.Cut(info, "slave_repl_offset:")
		if n, _ := strconv.Atoi(strings.Fields(after + " 0")[0]); n > most {
			best, most = i, n
		}
	}
	if _, err := r.ask(best, "REPLICAOF", "NO", "ONE"); err != nil {
		r.t.Errorf("REPLICAOF: %v", err)
	}
	r.primary.Store(int64(best))
	r.follow(3 - best)
}

// follow makes a node a replica of the primary.
func (r *redisSide) follow(i int) {
	host, port, _ := net.SplitHostPort(r.nodes[r.primary.Load()].addr)
	if _, err := r.ask(i, "REPLICAOF", host, port); err != nil {
		r.t.Errorf("REPLICAOF: %v", err)
	}
}

func (r *redisSide) ledger() map[string]int {
	c, err := dialRESP(r.nodes[r.primary.Load()].addr)
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	ids, err := c.do("LRANGE", "ledger", "0", "-1")
	if err != nil {
		r.t.Fatal(err)
	}
	lines := map[string]int{}
	for _, id := range ids {
		lines[id]++
	}
	return lines
}

// respConn speaks as much of Redis's protocol as the limiter needs.
type respConn struct {
	net.Conn
	addr string
	r    *bufio.Reader
}

func dialRESP(addr string) (*respConn, error) {
	c, err := net.DialTimeout("tcp", addr, sideTimeout)
	if err != nil {
		return nil, err
	}
	return &respConn{Conn: c, addr: addr, r: bufio.NewReader(c)}, nil
}

// do sends a command and returns its answer: one string, or those of a flat array.
func (c *respConn) do(args ...string) ([]string, error) {
	c.SetDeadline(time.Now().Add(sideTimeout))
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := io.WriteString(c, b.String()); err != nil {
		return nil, err
	}
	return c.read()
}

func (c *respConn) read() ([]string, error) {
	line, err := c.r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	kind, text := line[0], strings.TrimSpace(line[1:])
	switch kind {
	case '-':
		return nil, fmt.Errorf("redis: %s", text)
	case '$':
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return []string{""}, err
		}
		body := make([]byte, n+2)
		if _, err := io.ReadFull(c.r, body); err != nil {
			return nil, err
		}
		return []string{string(body[:n])}, nil
	case '*':
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, err
		}
		var all []string
		for range n {
			one, err := c.read()
			if err != nil {
				return nil, err
			}
			all = append(all, one...)
		}
		return all, nil
	}
	return []string{text}, nil
}
