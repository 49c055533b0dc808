package cluster

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/bursar-dev/bursar/fsm"
)

func TestFollowersLearnOfACommitAtOnceNotByTheTimer(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		for _, p := range r.peers {
			p.config.Tuning.CommitTimeout = 2 * time.Second // the timer tells too late
		}
		r.startAll()
		leader := r.leader()
		for i := range 20 {
			time.Sleep(time.Second) // a lone write: nothing that follows carries its commit
			index, err := leader.node.ProposeQuick(r.within(time.Second), tester, fsm.PutAccount{ID: "acme", Name: fmt.Sprint(i)})
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			for _, p := range r.followers() {
				if err := p.machine.WaitApplied(r.within(10*time.Second), index); err != nil {
					t.Fatalf("write %d on %s: %v", i, p.name, err)
				}
			}
			if late := time.Since(began); late > 5*time.Millisecond {
				t.Errorf("write %d reached every follower %v after the leader had applied it", i, late)
			}
		}
	})
}

func TestFollowerThatWasAwayIsToldWithoutTheTimer(t *testing.T) {
	inBubble(t, 3, func(r *rig) {
		r.startAll()
		leader, away := r.leader(), r.followers()[0]
		r.isolate(away)
		if _, err := leader.node.ProposeQuick(r.within(time.Second), tester, fsm.PutAccount{ID: "acme", Name: "while away"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		r.net.HealAll()
		r.settle(3)
		index, err := r.leader().node.ProposeQuick(r.within(5*time.Second), tester, fsm.PutAccount{ID: "acme", Name: "back"})
		if err != nil {
			t.Fatal(err)
		}
		if err := away.machine.WaitApplied(r.within(10*time.Second), index); err != nil {
			t.Error(err)
		}
	})
}

// scriptedPipeline records what is sent and answers when told to.
type scriptedPipeline struct {
	sent    []*raft.AppendEntriesRequest
	answers chan raft.AppendFuture
}

func (s *scriptedPipeline) AppendEntries(req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	s.sent = append(s.sent, req)
	return &scriptedAnswer{req: req, resp: resp}, nil
}
func (s *scriptedPipeline) Consumer() <-chan raft.AppendFuture { return s.answers }
func (s *scriptedPipeline) Close() error                       { return nil }

type scriptedAnswer struct {
	req  *raft.AppendEntriesRequest
	resp *raft.AppendEntriesResponse
}

func (a *scriptedAnswer) Error() error                          { return nil }
func (a *scriptedAnswer) Start() time.Time                      { return time.Time{} }
func (a *scriptedAnswer) Request() *raft.AppendEntriesRequest   { return a.req }
func (a *scriptedAnswer) Response() *raft.AppendEntriesResponse { return a.resp }

// A pipeline's notices, step by step: what raft sends, what is answered, what is
// committed in term 3, and what the notice says then.
func TestNoticeContinuesWhatWasSentAndClaimsOnlyItsOwnTerm(t *testing.T) {
	entries := func(last uint64) *raft.AppendEntriesRequest {
		return &raft.AppendEntriesRequest{Term: 3, PrevLogEntry: last - 1, PrevLogTerm: 2, LeaderCommitIndex: last - 1, Entries: []*raft.Log{{Index: last, Term: 3}}}
	}
	for _, c := range []struct {
		name     string
		steps    func(p *noticePipeline, s *scriptedPipeline)
		commits  map[uint64]uint64 // term led → committed
		want     int               // requests sent in all
		noticeOf uint64            // LeaderCommitIndex of the last
	}{
		{"nothing was sent", func(*noticePipeline, *scriptedPipeline) {}, map[uint64]uint64{3: 9}, 0, 0},
		{"the entry is unanswered", func(p *noticePipeline, _ *scriptedPipeline) {
			p.AppendEntries(entries(10), new(raft.AppendEntriesResponse))
		}, map[uint64]uint64{3: 10}, 1, 9},
		{"answered and committed", func(p *noticePipeline, s *scriptedPipeline) {
			f, _ := p.AppendEntries(entries(10), &raft.AppendEntriesResponse{Success: true})
			s.answers <- f
			<-p.Consumer()
		}, map[uint64]uint64{3: 10}, 2, 10},
		{"told already", func(p *noticePipeline, s *scriptedPipeline) {
			f, _ := p.AppendEntries(entries(10), &raft.AppendEntriesResponse{Success: true})
			s.answers <- f
			<-p.Consumer()
		}, map[uint64]uint64{3: 9}, 1, 9},
		{"refused", func(p *noticePipeline, s *scriptedPipeline) {
			f, _ := p.AppendEntries(entries(10), &raft.AppendEntriesResponse{Success: false})
			s.answers <- f
			<-p.Consumer()
		}, map[uint64]uint64{3: 10}, 1, 9},
		{"the node leads another term", func(p *noticePipeline, s *scriptedPipeline) {
			f, _ := p.AppendEntries(entries(10), &raft.AppendEntriesResponse{Success: true})
			s.answers <- f
			<-p.Consumer()
		}, map[uint64]uint64{4: 12}, 1, 9},
	} {
		s := &scriptedPipeline{answers: make(chan raft.AppendFuture)}
		p := newNoticePipeline(s, func(term uint64) uint64 { return c.commits[term] })
		c.steps(p, s)
		p.notice()
		p.notice() // the second finds nothing to say, or the first unanswered
		p.Close()
		p.turn <- struct{}{}
		if len(s.sent) != c.want {
			t.Errorf("%s: %d requests were sent, want %d", c.name, len(s.sent), c.want)
		} else if c.want > 0 {
			last := s.sent[c.want-1]
			if last.LeaderCommitIndex != c.noticeOf {
				t.Errorf("%s: the last request says %d is committed, want %d", c.name, last.LeaderCommitIndex, c.noticeOf)
			}
			if c.want == 2 && (len(last.Entries) != 0 || last.PrevLogEntry != 10 || last.PrevLogTerm != 3 || last.Term != 3) {
				t.Errorf("%s: the notice is %+v", c.name, last)
			}
		}
		<-p.turn
	}
}

// BenchmarkFollowerApply measures how long after the leader's own apply a lone
// write is applied by both followers, over real TCP and disks. The timer variants
// send no notices, as raft does by itself.
func BenchmarkFollowerApply(b *testing.B) {
	for _, c := range []struct {
		name    string
		timer   time.Duration
		notices bool
	}{
		{"timer=5ms", 5 * time.Millisecond, false},
		{"timer=50ms", 50 * time.Millisecond, false},
		{"notices", defaultCommitTimeout, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			nodes := openReal(b, c.timer)
			leader := awaitLeader(b, nodes)
			if !c.notices {
				leader.node.raft.transport.raft.Store(nil)
			}
			late := make([]time.Duration, 0, b.N)
			for i := 0; b.Loop(); i++ {
				index, err := leader.node.ProposeQuick(b.Context(), tester, fsm.PutAccount{ID: "acme", Name: fmt.Sprint(i)})
				if err != nil {
					b.Fatal(err)
				}
				began := time.Now()
				for _, n := range nodes {
					if err := n.machine.WaitApplied(b.Context(), index); err != nil {
						b.Fatal(err)
					}
				}
				late = append(late, time.Since(began))
				time.Sleep(10 * time.Millisecond) // the next one is alone, too
			}
			slices.Sort(late)
			b.ReportMetric(float64(late[len(late)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(late[len(late)*99/100].Microseconds()), "p99-µs")
		})
	}
}

// openReal opens three nodes over real TCP that form a cluster, and closes them with the benchmark.
func openReal(b *testing.B, timer time.Duration) []*real {
	b.Helper()
	addrs := freePorts(b, 3)
	var nodes []*real
	for i, addr := range addrs {
		n := &real{config: Config{
			Name: fmt.Sprintf("n%d", i+1), DataDir: b.TempDir(), PeerAddr: addr, Join: addrs,
			BootstrapExpect: len(addrs), Logger: testLogger(), Tuning: Tuning{CommitTimeout: timer},
		}}
		n.open(b)
		b.Cleanup(func() { n.close(b) })
		nodes = append(nodes, n)
	}
	return nodes
}

func awaitLeader(b *testing.B, nodes []*real) *real {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	for _, n := range nodes {
		if _, err := n.node.Admitted(ctx); err != nil {
			b.Fatal(err)
		}
		if _, err := n.node.ProposeQuick(ctx, tester, fsm.PutAccount{ID: "acme", Name: "first"}); err != nil {
			b.Fatal(err)
		}
	}
	for _, n := range nodes {
		if n.node.raft.State() == raft.Leader {
			return n
		}
	}
	b.Fatal("nobody leads")
	return nil
}

// raft takes no answer after one that says no. Its sender may be waiting for a
// place in the pipeline just then; it must get one, or it never learns that the pipeline is over.
func TestAnswersAreTakenAfterRaftHasStoppedTakingThem(t *testing.T) {
	for name, no := range map[string]*scriptedAnswer{
		"refused":    {req: &raft.AppendEntriesRequest{Term: 2}, resp: &raft.AppendEntriesResponse{Term: 2}},
		"later term": {req: &raft.AppendEntriesRequest{Term: 2}, resp: &raft.AppendEntriesResponse{Term: 3, Success: true}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inner := &scriptedPipeline{answers: make(chan raft.AppendFuture)}
				p := newNoticePipeline(inner, func(uint64) uint64 { return 0 })
				defer p.Close()
				inner.answers <- no
				if got := <-p.Consumer(); got != no {
					t.Fatalf("raft is given %+v, want the answer that says no", got)
				}
				for i := range 3 { // nobody reads p.Consumer any more
					select {
					case inner.answers <- &scriptedAnswer{req: no.req, resp: &raft.AppendEntriesResponse{Term: 2, Success: true}}:
					case <-time.After(time.Minute):
						t.Fatalf("answer %d after that waits for ever, and whoever sends the next request with it", i+1)
					}
				}
			})
		})
	}
}
