package simulation

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/bursar-dev/bursar/cluster"
	"github.com/bursar-dev/bursar/enforcer"
	"github.com/bursar-dev/bursar/fsm"
)

// host is one machine: a name on the network, a disk, a run of its kernel, and at
// most one process.
type host struct {
	w      *World
	name   string
	kernel uint64
	disk   *disk
	ahead  atomic.Int64 // of true time its clock is, in nanoseconds; less than nothing: behind

	mu   sync.Mutex
	proc *process // nil: none runs
}

// process is one run of a node on a host. Its parts are opened in the order that
// cmd/bursar's node describes.
type process struct {
	h    *host
	disk *disk
	dead atomic.Bool

	observer cluster.LateObserver
	peers    cluster.LatePeers
	machine  *fsm.Machine
	cluster  *cluster.Node
	enforcer atomic.Pointer[enforcer.Enforcer]
	serve    atomic.Pointer[fasthttp.RequestHandler]

	cancel context.CancelFunc
	work   sync.WaitGroup
	calls  sync.WaitGroup // of the data plane, being answered

	opened  chan struct{} // closed when open has returned: what it sets may be read
	end     sync.Once
	gone    chan struct{} // closed when its answers reach nobody any more
	closing atomic.Bool
	closed  chan struct{} // closed when nothing is left of it
}

// leave breaks the connections of the process's callers.
func (p *process) leave() { p.end.Do(func() { close(p.gone) }) }

func (w *World) newHost(name string) *host {
	h := &host{w: w, name: name, kernel: 1, disk: newDisk()}
	h.setClock(newDice(w.seed, streamClocks+uint64(len(w.hosts))<<32))
	return h
}

// setClock sets the host's clock anew, as far from true time as the scenario allows.
func (h *host) setClock(d *dice) {
	h.ahead.Store(int64(d.wait(-h.w.c.ClockError, h.w.c.ClockError)))
	h.w.history.note(h.name, "its clock is %v ahead", time.Duration(h.ahead.Load()))
}

// wall is the host's clock.
func (h *host) wall(t time.Time) int64 { return t.Add(time.Duration(h.ahead.Load())).UnixMilli() }

func (h *host) addr() string { return h.name + ":7000" }

// running returns the process, or nil.
func (h *host) running() *process {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.proc
}

// start begins a process on the machine, unless one runs.
func (h *host) start() error {
	h.mu.Lock()
	if h.proc != nil {
		h.mu.Unlock()
		return nil
	}
	p := &process{h: h, disk: h.disk, opened: make(chan struct{}), gone: make(chan struct{}), closed: make(chan struct{})}
	h.proc = p
	h.mu.Unlock()
	h.w.history.note(h.name, "start")
	err := p.open()
	close(p.opened)
	if err == nil {
		return nil
	}
	h.mu.Lock()
	crashed := h.proc != p
	if !crashed {
		h.proc = nil
	}
	h.mu.Unlock()
	p.dead.Store(true)
	p.leave()
	p.close()
	if crashed {
		return nil // while it was being opened: what came of that tells nothing
	}
	return fmt.Errorf("start %s: %w", h.name, err)
}

func (p *process) open() (err error) {
	w, fs := p.h.w, p.disk.fs()
	log := w.history.logger(p)
	p.machine, err = fsm.Open("/data/state", fsm.Options{FS: fs, Logger: log, Observer: &p.observer})
	if err != nil {
		return err
	}
	if num := p.numberInReplica(); num != 0 {
		if err := p.openEnforcer(num); err != nil {
			return err
		}
	}
	var join []string
	for _, o := range w.founders {
		join = append(join, o+":7000")
	}
	p.cluster, err = cluster.Open(context.Background(), cluster.Config{
		Name: p.h.name, DataDir: "/data", PeerAddr: p.h.addr(), Join: join, BootstrapExpect: len(w.founders),
		Network: &processNet{w.links.net.Host(p.h.name), &p.dead}, FS: fs, Logger: log, Wall: p.h.wall,
		Tuning: cluster.Tuning{
			OpenStores:        func(string) (cluster.RaftStores, error) { return p.disk.log, nil },
			SnapshotThreshold: w.c.SnapshotThreshold, SnapshotInterval: w.c.SnapshotInterval, TrailingLogs: w.c.TrailingLogs,
			ChecksumEvery: w.c.ChecksumEvery, DiskStall: w.c.DiskStall, CommitTimeout: w.c.CommitTimeout,
		},
	}, p.machine)
	if err != nil {
		return err
	}
	p.peers.Bind(p.cluster)
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.work.Go(func() { p.failWith(ctx, p.join(ctx)) })
	p.work.Go(func() {
		select {
		case <-ctx.Done():
		case <-p.cluster.Failed():
			p.failWith(ctx, p.cluster.Err())
		}
	})
	return nil
}

// failWith ends the process for an error, as cmd/bursar does.
func (p *process) failWith(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		p.h.w.nodeFailed(p, err)
		go p.h.crash(p, false, "it has failed: "+err.Error())
	}
}

func (p *process) numberInReplica() (num fsm.NodeNum) {
	p.machine.View(func(v *fsm.View) {
		for _, member := range v.Nodes() {
			if member.Name == p.h.name && member.RemovedAt == 0 {
				num = member.Num
			}
		}
	})
	return num
}

func (p *process) openEnforcer(num fsm.NodeNum) error {
	var kernel [16]byte
	binary.LittleEndian.PutUint64(kernel[:], p.h.kernel)
	e, err := enforcer.Open(enforcer.Config{
		Name: p.h.name, Node: num, DataDir: "/data", FS: p.disk.fs(), Logger: p.h.w.history.logger(p), KernelBoot: kernel, Wall: p.h.wall,
	}, p.machine, &p.peers)
	if err != nil {
		return err
	}
	p.observer.Attach(e, p.machine)
	p.enforcer.Store(e)
	return nil
}

// join becomes a member and runs the enforcer's session.
func (p *process) join(ctx context.Context) error {
	num, err := p.cluster.Admitted(ctx)
	if err != nil {
		return err
	}
	if p.enforcer.Load() == nil {
		if err := p.openEnforcer(num); err != nil {
			return err
		}
	}
	e := p.enforcer.Load()
	p.cluster.Serve(e)
	handler := enforcer.NewServer(e, p.h.w.history.logger(p)).Handler
	p.serve.Store(&handler)
	return e.Run(ctx, func(ctx context.Context, body fsm.Body) error {
		_, err := p.cluster.ProposeQuick(ctx, fsm.Actor{Type: "node", ID: p.h.name, Name: p.h.name}, body)
		return err
	})
}

// crash ends a process without a word. What it had not handed to the kernel is
// lost; with reboot the machine goes down as well, and what was not synced is, too.
func (h *host) crash(p *process, reboot bool, why string) {
	h.mu.Lock()
	if h.proc != p || p == nil {
		h.mu.Unlock()
		return
	}
	// First nobody hears of anything any more, then the disk is as it is.
	p.leave()
	p.dead.Store(true)
	h.w.links.net.Crash(h.name)
	if reboot {
		h.kernel++
	}
	h.disk = p.disk.crash(reboot, int(h.w.dice.upTo(2))*50, uint64(h.w.dice.upTo(1<<40)))
	h.proc = nil
	h.mu.Unlock()
	h.w.crashed(h, reboot, why)
	h.w.burials.Go(p.close)
}

// stop ends a process as SIGTERM does: it drains, hands over and closes.
func (h *host) stop(p *process, within time.Duration) {
	h.w.history.note(h.name, "stop")
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if e := p.enforcer.Load(); e != nil {
		if err := e.Drain(ctx); err != nil {
			h.w.history.note(h.name, "drain: %v", err)
		}
	}
	h.mu.Lock()
	mine := h.proc == p
	h.mu.Unlock()
	if !mine {
		return // it has crashed meanwhile
	}
	p.leave()
	p.close()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.proc == p {
		p.dead.Store(true)
		h.proc = nil
	}
}

// closeWait is more than any part of a process takes to end once nothing holds it.
const closeWait = time.Minute

// close ends what a process consists of and waits for it.
func (p *process) close() {
	if !p.closing.CompareAndSwap(false, true) {
		<-p.closed // not a sync.Once: the bubble's clock would stand still
		return
	}
	defer close(p.closed)
	p.disk.lift()
	<-p.opened
	if p.cancel != nil {
		p.cancel()
	}
	p.work.Wait()
	p.calls.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	var err error
	if p.cluster != nil {
		err = p.cluster.Close(ctx)
	}
	if e := p.enforcer.Load(); e != nil {
		err = errors.Join(err, e.Close())
	}
	if p.machine != nil {
		err = errors.Join(err, p.machine.Close())
	}
	if err != nil {
		p.h.w.history.note(p.h.name, "close: %v", err)
	}
}
