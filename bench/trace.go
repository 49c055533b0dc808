package bench

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Limits of a trace file.
const (
	maxTraceCalls     = 10_000_000
	maxTraceLineBytes = 4 << 10
	maxTraceTokens    = 1_000_000_000 // of one call, either direction
)

// traceHeader is the first line of a trace file.
const traceHeader = "TIMESTAMP,ContextTokens,GeneratedTokens"

// traceTime is the layout of a timestamp; fractions of a second of any length are accepted. No zone: UTC.
const traceTime = "2006-01-02 15:04:05"

// TraceCall is one call of a trace.
type TraceCall struct {
	Offset time.Duration // since the first call
	Input  int64         // prompt tokens
	Output int64         // generated tokens
}

// ReadTrace reads a trace in the form
//
//	TIMESTAMP,ContextTokens,GeneratedTokens
//	2023-11-16 18:17:03.9799600,4808,10
//
// Lines must be in order of time. An error names the line.
func ReadTrace(r io.Reader) ([]TraceCall, error) {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 0, maxTraceLineBytes), maxTraceLineBytes)
	if !sc.Scan() {
		return nil, errors.Join(errors.New("the trace is empty: its first line must be "+traceHeader), sc.Err())
	}
	if h := strings.TrimPrefix(sc.Text(), "\ufeff"); strings.TrimSpace(h) != traceHeader {
		return nil, fmt.Errorf("line 1: header %q; want %s", h, traceHeader)
	}
	var (
		calls []TraceCall
		first time.Time
	)
	line := 1
	for sc.Scan() {
		line++
		text := strings.TrimSpace(sc.Text())
		if text == "" {
			continue
		}
		at, call, err := parseTraceLine(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		if len(calls) == 0 {
			first = at
		}
		call.Offset = at.Sub(first)
		if n := len(calls); call.Offset < 0 || n > 0 && call.Offset < calls[n-1].Offset {
			return nil, fmt.Errorf("line %d: TIMESTAMP is before the line above; sort the trace by time", line)
		}
		if len(calls) == maxTraceCalls {
			return nil, fmt.Errorf("line %d: more than %d calls; cut the trace into pieces", line, maxTraceCalls)
		}
		calls = append(calls, call)
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", line+1, err)
	}
	if len(calls) == 0 {
		return nil, errors.New("the trace has no calls")
	}
	return calls, nil
}

func parseTraceLine(text string) (at time.Time, c TraceCall, err error) {
	fields := strings.Split(text, ",")
	if len(fields) != 3 {
		return at, c, fmt.Errorf("%d fields; want 3 (%s)", len(fields), traceHeader)
	}
	if at, err = time.ParseInLocation(traceTime, fields[0], time.UTC); err != nil {
		return at, c, fmt.Errorf("TIMESTAMP %q: want the form 2023-11-16 18:17:03.9799600", fields[0])
	}
	if c.Input, err = parseTokens("ContextTokens", fields[1]); err != nil {
		return at, c, err
	}
	c.Output, err = parseTokens("GeneratedTokens", fields[2])
	return at, c, err
}

func parseTokens(name, s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > maxTraceTokens {
		return 0, fmt.Errorf("%s %q: want a whole number from 0 to %d", name, s, maxTraceTokens)
	}
	return n, nil
}
