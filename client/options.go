package client

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// AwayPolicy says what Check, Checks and Reserve answer when no node of Bursar does.
type AwayPolicy int

// The policies. A refused token, a malformed request or a context that ended is
// an error under both: only Bursar's absence opens the gate.
const (
	// FailClosed returns an error that matches ErrUnavailable. The call must not be made.
	FailClosed AwayPolicy = iota
	// FailOpen grants, with Degraded set and the code CodeUnavailable. Limits do
	// not hold for such calls; what they used is still recorded once Bursar is back.
	FailOpen
)

// Options configures a Client. Zero fields mean their defaults.
type Options struct {
	// Endpoints are the data plane's base URLs, as "http://10.0.0.1:7070". Several
	// nodes, or one load balancer. Required.
	Endpoints []string
	// Token is a service token ("bt_…"). Required.
	Token string
	// WhenAway is what to answer when Bursar does not: FailClosed.
	WhenAway AwayPolicy
	// Encoding of bodies: JSON.
	Encoding Encoding

	// Timeout bounds a check, release or extend with all its tries: 2 s.
	Timeout time.Duration
	// TryTimeout bounds one try of them: 500 ms. A node decides within some 65 ms or says it cannot.
	TryTimeout time.Duration
	// IngestTimeout bounds an ingest with all its tries: 20 s.
	IngestTimeout time.Duration
	// IngestTryTimeout bounds one try of it: 5 s. A node may wait 2 s for a majority before it answers.
	IngestTryTimeout time.Duration
	// MaxTries bounds the tries of one call: 3, or the number of endpoints if that is more, at most 5.
	MaxTries int

	// HTTPClient replaces the default one, which keeps up to 256 idle connections
	// a node. Its Timeout should be zero; the client sets its own.
	HTTPClient *http.Client
}

// Defaults of Options.
const (
	defaultTimeout          = 2 * time.Second
	defaultTryTimeout       = 500 * time.Millisecond
	defaultIngestTimeout    = 20 * time.Second
	defaultIngestTryTimeout = 5 * time.Second
	defaultMaxTries         = 3
	maxDefaultTries         = 5
	maxIdlePerNode          = 256
	idleTimeout             = 30 * time.Second // less than a server keeps an idle connection
)

func (o Options) withDefaults() Options {
	o.Timeout = orDefault(o.Timeout, defaultTimeout)
	o.TryTimeout = orDefault(o.TryTimeout, defaultTryTimeout)
	o.IngestTimeout = orDefault(o.IngestTimeout, defaultIngestTimeout)
	o.IngestTryTimeout = orDefault(o.IngestTryTimeout, defaultIngestTryTimeout)
	o.MaxTries = orDefault(o.MaxTries, triesFor(len(o.Endpoints)))
	return o
}

func triesFor(endpoints int) int {
	return min(max(defaultMaxTries, endpoints), maxDefaultTries)
}

func orDefault[T int | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// baseURLs checks endpoints and cuts trailing slashes.
func baseURLs(endpoints []string) ([]string, error) {
	if len(endpoints) == 0 {
		return nil, errors.New("client: no endpoints")
	}
	if len(endpoints) > maxEndpoints {
		return nil, fmt.Errorf("client: %d endpoints, at most %d are allowed", len(endpoints), maxEndpoints)
	}
	bases := make([]string, 0, len(endpoints))
	for i, s := range endpoints {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return nil, fmt.Errorf("client: endpoint %d is not a URL like http://host:port", i+1)
		}
		if u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			return nil, fmt.Errorf("client: endpoint %q must not have a user, query or fragment", u.Redacted())
		}
		bases = append(bases, strings.TrimRight(u.String(), "/"))
	}
	return bases, nil
}

// newHTTPClient returns the default HTTP client: connections are kept, and a
// redirect is an answer, never followed with the token.
func newHTTPClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConns = 0
	t.MaxIdleConnsPerHost = maxIdlePerNode
	t.IdleConnTimeout = idleTimeout
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
