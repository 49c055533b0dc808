package simulation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Stats are the totals of runs.
type Stats struct {
	Seeds   int64
	Virtual time.Duration

	Elections, Crashes, Reboots, Restarts, Stops int64
	Partitions, Stalls, Delays, Resets           int64
	SlowDisks, HungDisks, FullDisks              int64
	ClockJumps                                   int64
	Snapshots, Joins, Removals, Transfers        int64
	Limits, Moves, Archives, Revocations         int64

	Codes  map[string]int64 // answers to calls
	Events int64            // reported
	Acked  int64            // of them acknowledged

	Overspent, FalselyDenied, Lost, Doubled, Stale int64
}

// Add adds another run's totals.
func (s *Stats) Add(o Stats) {
	if s.Codes == nil {
		s.Codes = map[string]int64{}
	}
	s.Virtual += o.Virtual
	for code, n := range o.Codes {
		s.Codes[code] += n
	}
	mine, others := s.counters(), o.counters()
	for i := range mine {
		*mine[i] += *others[i]
	}
}

func (s *Stats) counters() []*int64 {
	return []*int64{
		&s.Seeds, &s.Elections, &s.Crashes, &s.Reboots, &s.Restarts, &s.Stops, &s.Partitions, &s.Stalls, &s.Delays, &s.Resets,
		&s.SlowDisks, &s.HungDisks, &s.FullDisks, &s.ClockJumps, &s.Snapshots, &s.Joins, &s.Removals, &s.Transfers,
		&s.Limits, &s.Moves, &s.Archives, &s.Revocations, &s.Events, &s.Acked,
		&s.Overspent, &s.FalselyDenied, &s.Lost, &s.Doubled, &s.Stale,
	}
}

// String gives the totals in a few lines.
func (s Stats) String() string {
	var codes []string
	var calls int64
	for _, code := range slices.Sorted(maps.Keys(s.Codes)) {
		codes = append(codes, fmt.Sprintf("%s %d", code, s.Codes[code]))
		calls += s.Codes[code]
	}
	return fmt.Sprintf(`%d seeds, %.1f virtual hours, %d elections
%d crashes of processes, %d of machines, %d restarts, %d graceful stops, %d transfers of leadership
%d partitions, %d stalls, %d changes of delay, %d resets; disks: %d slow, %d hung, %d full; clocks set %d times
%d snapshots sent, %d nodes joined, %d removed; %d limits written, %d moves, %d archives, %d revocations
%d calls: %s
%d events reported, %d acknowledged
overspent %d, falsely denied %d, lost %d, doubled %d, stale %d`,
		s.Seeds, s.Virtual.Hours(), s.Elections,
		s.Crashes, s.Reboots, s.Restarts, s.Stops, s.Transfers,
		s.Partitions, s.Stalls, s.Delays, s.Resets, s.SlowDisks, s.HungDisks, s.FullDisks, s.ClockJumps,
		s.Snapshots, s.Joins, s.Removals, s.Limits, s.Moves, s.Archives, s.Revocations,
		calls, strings.Join(codes, ", "), s.Events, s.Acked,
		s.Overspent, s.FalselyDenied, s.Lost, s.Doubled, s.Stale)
}
