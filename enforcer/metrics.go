package enforcer

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bursar-dev/bursar/fsm"
)

// metrics are the data plane's figures. Counters with labels are looked up once,
// here; what has its own home (outbox, journal, reservations) is read when asked for.
type metrics struct {
	e *Enforcer

	checks  map[Code]prometheus.Counter
	latency prometheus.Histogram

	refusedCalls atomic.Uint64 // ingests, because too many were being answered

	events   [3]prometheus.Counter         // by eventOutcome
	rejects  map[string]prometheus.Counter // by code
	problems map[string]prometheus.Counter
	all      []prometheus.Collector
}

// The outcomes that ingested events are counted by.
const (
	eventAccepted = iota
	eventDuplicate
	eventRejected
)

var (
	descSlow       = describe("checks_slow_total", "Checks that needed more than this node's memory, by what they did.", "path")
	descLocal      = describe("checks_local_total", "Checks answered from this node's memory.")
	descAsks       = describe("lease_asks_total", "Times this node asked for more of a budget.")
	descReleases   = describe("lease_releases_total", "Times this node gave part of a budget back.")
	descExpired    = describe("reservations_expired_total", "Reservations that ended by themselves.")
	descUnpriced   = describe("ingest_unpriced_total", "Events recorded here whose model, or some of whose usage, has no price.")
	descUnattr     = describe("ingest_unattributed_total", "Events recorded here none of whose entities is provisioned; they are charged to the account's root.")
	descBudgets    = describe("lease_budgets", "Budgets this node has an account of: leased to it in part, held by it (the rest is here), held by another node, or not leased.", "state")
	descLive       = describe("reservations_live", "Reservations this node has given out that hold something.")
	descOutbox     = describe("outbox_events", "Accepted events that are not settled yet.")
	descOutboxSize = describe("outbox_bytes", "Encoded size of the accepted events that are not settled yet.")
	descOutboxAge  = describe("outbox_age_seconds", "Age of the oldest accepted event that is not settled yet.")
	descOutboxMay  = describe("outbox_events_allowed", "Accepted events that may wait to be settled before ingest answers 429: as many as are settled in half a second; without a leader, as many as the outbox holds.")
	descRefused    = describe("ingest_refused_total", "Requests to ingest answered 429, by what was reached: backlog (outbox_events_allowed), outbox (its size), calls (ingests being answered).", "cause")
	descWrites     = describe("journal_writes_total", "Writes to the reservation journal.")
	descRecords    = describe("journal_records_total", "Records written to the reservation journal.")
	descErrors     = describe("journal_errors_total", "Failed writes of the reservation journal.")
	descReady      = describe("ready", "1 while this node may decide.")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("bursar_"+name, help, labels, nil)
}

// checkBuckets span a local decision (tens of microseconds) to a queued one (AskWait).
var checkBuckets = []float64{
	25e-6, 50e-6, 100e-6, 200e-6, 400e-6, 800e-6, 1.6e-3, 3.2e-3, 6.4e-3, 12.8e-3, 25.6e-3, 51.2e-3, 102.4e-3,
}

func newMetrics(e *Enforcer) *metrics {
	checks := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "bursar_checks_total", Help: "Checks answered, by code.",
	}, []string{"code"})
	events := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "bursar_ingest_events_total", Help: "Events ingested, by outcome.",
	}, []string{"outcome"})
	rejects := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "bursar_ingest_rejected_total", Help: "Events rejected, by code; /v1/accounts/{account}/rejected lists the latest.",
	}, []string{"code"})
	problems := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "bursar_problems_total", Help: "Requests of the data plane answered with an error, by code.",
	}, []string{"code"})
	m := &metrics{
		e: e, checks: make(map[Code]prometheus.Counter), problems: make(map[string]prometheus.Counter), rejects: make(map[string]prometheus.Counter),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "bursar_check_seconds", Help: "Time to decide a check, without reading and writing the connection.",
			Buckets: checkBuckets,
		}),
	}
	for _, code := range []Code{CodeOK, CodeUngoverned, CodeBudgetExhausted, CodeExceedsLimit, CodeKeyUnknown,
		CodeAccountFrozen, CodeEntityArchived, codeUnavailable} {
		m.checks[code] = checks.WithLabelValues(string(code))
	}
	for i, outcome := range []string{eventAccepted: "accepted", eventDuplicate: "duplicate", eventRejected: "rejected"} {
		m.events[i] = events.WithLabelValues(outcome)
	}
	for _, code := range rejectCodes {
		m.rejects[code] = rejects.WithLabelValues(code)
	}
	for code := range problemStatus {
		m.problems[code] = problems.WithLabelValues(code)
	}
	m.all = []prometheus.Collector{checks, m.latency, events, rejects, problems}
	return m
}

// checked counts a decided check.
func (m *metrics) checked(code Code, took time.Duration) {
	if c := m.checks[code]; c != nil {
		c.Inc()
	}
	m.latency.Observe(took.Seconds())
}

// rejected counts a rejected event.
func (m *metrics) rejected(code string) {
	if c := m.rejects[code]; c != nil {
		c.Inc()
	}
}

// ingested counts the items of an ingest and returns how many of them were rejected.
func (m *metrics) ingested(items []ingestItem) (rejected int) {
	var n [len(m.events)]int
	for i := range items {
		switch {
		case items[i].code != "":
			n[eventRejected]++
		case items[i].outcome == fsm.Duplicate:
			n[eventDuplicate]++
		default:
			n[eventAccepted]++
		}
	}
	for i, c := range m.events {
		c.Add(float64(n[i]))
	}
	return n[eventRejected]
}

func (m *metrics) problem(code string) {
	if c := m.problems[code]; c != nil {
		c.Inc()
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	for _, c := range m.all {
		c.Describe(out)
	}
	for _, d := range []*prometheus.Desc{descSlow, descLocal, descAsks, descReleases, descExpired, descUnpriced, descUnattr, descBudgets, descLive, descOutbox, descOutboxSize, descOutboxAge, descOutboxMay, descRefused,
		descWrites, descRecords, descErrors, descReady} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	for _, c := range m.all {
		c.Collect(out)
	}
	gauge := func(d *prometheus.Desc, v float64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	stats := m.e.Stats()
	counter(descSlow, stats.Waited.Load(), "waited")
	counter(descSlow, stats.Drawn.Load(), "drawn")
	counter(descLocal, stats.Local.Load())
	counter(descAsks, stats.Asks.Load())
	counter(descReleases, stats.Releases.Load())
	counter(descExpired, stats.Expired.Load())
	counter(descUnpriced, stats.Unpriced.Load())
	counter(descUnattr, stats.Unattributed.Load())
	for state, n := range m.e.book.states() {
		out <- prometheus.MustNewConstMetric(descBudgets, prometheus.GaugeValue, float64(n), state)
	}
	gauge(descLive, float64(m.e.table.count.Load()))
	waiting := m.e.ship.depth()
	gauge(descOutbox, float64(waiting.events))
	gauge(descOutboxSize, float64(waiting.bytes))
	gauge(descOutboxAge, waiting.age.Seconds())
	gauge(descOutboxMay, float64(waiting.allowance))
	counter(descRefused, m.e.ship.refusedBacklog.Load(), "backlog")
	counter(descRefused, m.e.ship.refusedFull.Load(), "outbox")
	counter(descRefused, m.refusedCalls.Load(), "calls")
	counter(descWrites, m.e.journal.writes.Load())
	counter(descRecords, m.e.journal.records.Load())
	counter(descErrors, m.e.journal.errs.Load())
	ready := 0.0
	if m.e.Ready() == nil {
		ready = 1
	}
	gauge(descReady, ready)
}
